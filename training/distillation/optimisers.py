"""Optimisers of a student: which weights by which one, and at what rate."""

from __future__ import annotations

import logging
from typing import Any

import torch

from training.distillation.recipe import Recipe
from training.distillation.student import Student
from training.loop.muon import Muon, is_matrix

log = logging.getLogger(__name__)


def optimisers_of(student: Student, recipe: Recipe) -> tuple[Muon, torch.optim.AdamW]:
    """Return Muon for the dense convolutions of encoder and decoder, AdamW for all the rest."""
    linear, front, tail = student.linear_parameters(), student.front_parameters(), list(student.tail.parameters())
    apart = {id(p) for p in (*linear, *front, *tail)}
    trained = [(n, p) for n, p in student.named_parameters() if p.requires_grad and id(p) not in apart]
    stacked = [p for n, p in trained if is_matrix(p) and n.startswith("encoder.")]
    single = [p for n, p in trained if is_matrix(p) and n.startswith("decoder.")]
    matrices_apart = apart | {id(p) for p in (*stacked, *single)}
    others = [p for _, p in trained if id(p) not in matrices_apart]
    matrices = [{"params": stacked, "stack": student.spec.stacked}, {"params": single, "stack": 1}]
    muon = Muon([{**group, "peak": recipe.matrix_rate} for group in matrices], recipe.matrix_rate)
    pretrained = ((front, recipe.front_rate), (tail, recipe.tail_rate))
    groups = ((others, recipe.peak_rate), (linear, recipe.linear_rate), *pretrained)
    rest = [{"params": parameters, "peak": rate} for parameters, rate in groups if parameters]
    return muon, torch.optim.AdamW(rest, lr=recipe.peak_rate, weight_decay=1e-4)


def load_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from a stored state; the settings of this run win over those of the one that stored it.

    Where other parameters are trained than then, nothing is known of some of them, and all begin anew.
    """
    if [len(group["params"]) for group in optimiser.param_groups] != [len(g["params"]) for g in state["param_groups"]]:
        log.info("other parameters are trained than before: their optimiser begins anew")
        return
    peaks = [group["peak"] for group in optimiser.param_groups]
    optimiser.load_state_dict(state)
    for group, peak in zip(optimiser.param_groups, peaks, strict=True):
        group["peak"] = peak
