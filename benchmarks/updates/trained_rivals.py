"""Rivals that are trained: parts of the weights, or factors of their change. All begin at the full training's result.

What they send is quantised afterwards, in several ways; the best of these is each one's figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.updates.masks import Masks, highest, partial_scores
from benchmarks.updates.quantising import Quantised, Values, code_of, of_bits, sent_bytes
from benchmarks.updates.sealing import HEADER_BYTES, float16_bytes, mask_bytes
from benchmarks.updates.study import Method, Point, Study, as_matrix
from splitnet.updates.weights.counter_random import signs

BITS = (8, 6, 4)  # of what is sent
BALANCE = 0.5  # of deep partial updating's two terms
NOISE = 0.05  # of the second factors of FedPara, so that they learn


def chosen_tensors(study: Study, chooses: Callable[[str, Values], bool]) -> Iterator[Point]:
    """All weights of some tensors; the others stay as they were."""
    names = [name for name, value in study.differences.items() if chooses(name, value)]
    start = [torch.from_numpy(study.differences[name]) for name in names]
    trained = study.trained(start, lambda latents: dict(zip(names, latents, strict=True)))
    for bits in BITS:
        parts = {name: of_bits(value.numpy(), bits) for name, value in zip(names, trained, strict=True)}
        differences = {name: one.values for name, one in parts.items()}
        yield Point(f"{bits} bits", sent_bytes({**parts, **study.news}), study.weights(differences))


def head_only(study: Study, _: object) -> Iterator[Point]:
    """The head."""
    return chosen_tensors(study, lambda name, _: name.startswith("head."))


def biases_only(study: Study, _: object) -> Iterator[Point]:
    """Biases, into which normalisation is folded, and a scale for each channel: what was normalisation."""
    start, names = _channel_scales(study)
    biases = [name for name, value in study.differences.items() if value.ndim == 1]
    latents = [*(torch.from_numpy(study.differences[name]) for name in biases), *start]

    def build(found: Sequence[Tensor]) -> Mapping[str, Tensor]:
        result = dict(zip(biases, found, strict=False))
        for name, scale in zip(names, found[len(biases) :], strict=True):
            base = study.task.base[name]
            result[name] = base * scale.reshape(-1, *[1] * (base.dim() - 1))
        return result

    trained = study.trained(latents, build)
    for bits in BITS:
        parts = [of_bits(value.numpy(), bits) for value in trained]
        numbered = {str(number): one for number, one in enumerate(parts)}
        built = build([torch.from_numpy(one.values) for one in parts])
        differences = {name: value.numpy() for name, value in built.items()}
        yield Point(f"{bits} bits", sent_bytes({**numbered, **study.news}), study.weights(differences))


def _channel_scales(study: Study) -> tuple[list[Tensor], list[str]]:
    """Return the relative change of each output channel that comes nearest to the full difference, and its tensors."""
    names = [name for name, value in study.differences.items() if value.ndim > 1]
    scales = []
    for name in names:
        base, change = (as_matrix(x) for x in (study.task.base[name].numpy(), study.differences[name]))
        scales.append(torch.from_numpy((base * change).sum(axis=1) / np.maximum((base**2).sum(axis=1), 1e-12)))
    return scales, names


def signs_and_scales(study: Study, is_trained: bool) -> Iterator[Point]:
    """BitDelta (Liu et al., arXiv 2402.10193): the sign of each difference, and a scale for each tensor, trained."""
    levels = {name: np.where(value < 0, -1, 1).astype(np.int16) for name, value in study.differences.items()}
    scales = [torch.tensor(float(np.abs(value).mean())) for value in study.differences.values()]
    directions = {name: torch.from_numpy(one.astype(np.float32)) for name, one in levels.items()}
    if is_trained:
        scales = study.trained(scales, lambda s: {n: d * x for (n, d), x in zip(directions.items(), s, strict=True)})
    parts = {
        name: Quantised(one, code_of(abs(float(scale))))
        for (name, one), scale in zip(levels.items(), scales, strict=True)
    }
    differences = {name: one.values for name, one in parts.items()}
    setting = "trained scales" if is_trained else "mean sizes"
    yield Point(setting, sent_bytes({**parts, **study.news}), study.weights(differences))


def structured(study: Study, rank: int) -> Iterator[Point]:
    """Structured updates (Konecny et al., arXiv 1610.05492): a random matrix from a seed times a trained one."""
    seeded: dict[str, Tensor] = {}
    start: dict[str, Tensor] = {}
    for number, (name, value) in enumerate(study.differences.items()):
        start[name] = torch.from_numpy(value)
        matrix = as_matrix(value)
        if value.ndim > 1 and min(matrix.shape) > 1:
            rows = min(rank, *matrix.shape)
            seeded[name] = torch.from_numpy(signs(study.seed, number, len(matrix), rows)).float() / len(matrix) ** 0.5
            start[name] = torch.linalg.lstsq(seeded[name], torch.from_numpy(matrix)).solution
    names = list(start)

    def build(found: Sequence[Tensor]) -> Mapping[str, Tensor]:
        parts = dict(zip(names, found, strict=True))
        products = {name: (left @ parts[name]).reshape(study.differences[name].shape) for name, left in seeded.items()}
        return {**parts, **products}

    yield from _built_points(study, f"rank {rank}", study.trained(list(start.values()), build), build)


def hadamard_product(study: Study, rank: int) -> Iterator[Point]:
    """FedPara (Hyeon-Woo et al., ICLR 2022): the product, number by number, of two matrices of low rank each."""
    generator = torch.Generator().manual_seed(study.seed)
    latents: list[Tensor] = []
    places: dict[str, int] = {}
    for name, value in study.differences.items():
        places[name] = len(latents)
        matrix = torch.from_numpy(as_matrix(value))
        if value.ndim < 2 or min(matrix.shape) < 2:
            latents.append(torch.from_numpy(value))
            continue
        own = min(rank, *matrix.shape)
        left, sizes, right = torch.linalg.svd(matrix, full_matrices=False)
        roots = sizes[:own].sqrt()
        ones = [NOISE * torch.randn(side, own, generator=generator) for side in matrix.shape]
        for one in ones:
            one[:, 0] += 1
        latents += [left[:, :own] * roots, right[:own].T * roots, *ones]

    def build(found: Sequence[Tensor]) -> Mapping[str, Tensor]:
        result = {}
        for name, at in places.items():
            shape = study.differences[name].shape
            is_plain = tuple(found[at].shape) == shape
            result[name] = found[at] if is_plain else _product(found[at : at + 4]).reshape(shape)
        return result

    yield from _built_points(study, f"rank {rank}", study.trained(latents, build), build)


def _product(factors: Sequence[Tensor]) -> Tensor:
    left, right, second_left, second_right = factors
    return (left @ right.T) * (second_left @ second_right.T)


def _built_points(
    study: Study,
    setting: str,
    trained: Sequence[Tensor],
    build: Callable[[Sequence[Tensor]], Mapping[str, Tensor]],
) -> Iterator[Point]:
    for bits in BITS:
        parts = [of_bits(value.numpy(), bits) for value in trained]
        built = build([torch.from_numpy(one.values) for one in parts])
        numbered: dict[str, Quantised] = {str(number): one for number, one in enumerate(parts)}
        differences = {name: value.numpy() for name, value in built.items()}
        yield Point(f"{setting}, {bits} bits", sent_bytes({**numbered, **study.news}), study.weights(differences))


def partial_updating(study: Study, share: float) -> Iterator[Point]:
    """Deep partial updating: the rest goes back to the old weights, the chosen ones are trained again."""
    contributions = {name: study.target.contributions[name].numpy() for name in study.differences}
    masks = highest(partial_scores(study.differences, contributions, BALANCE), share)
    yield from _masked_points(study, f"{share:.1%}", masks)


def model_streaming(study: Study, share: float) -> Iterator[Point]:
    """AMS (Khani et al., ICCV 2021): the weights that the optimiser's state says to change most, in half precision."""
    masks = highest({name: study.target.last_steps[name].numpy() for name in study.differences}, share)
    yield from _masked_points(study, f"{share:.1%}", masks)


def _masked_points(study: Study, setting: str, masks: Masks) -> Iterator[Point]:
    names = [name for name, mask in masks.items() if mask.any()]
    kept = {name: torch.from_numpy(masks[name]).float() for name in names}
    start = [torch.from_numpy(study.differences[name]) * kept[name] for name in names]
    trained = study.trained(start, lambda found: {n: v * kept[n] for n, v in zip(names, found, strict=True)})
    values = {name: (value * kept[name]).numpy() for name, value in zip(names, trained, strict=True)}
    places = HEADER_BYTES + mask_bytes([*masks.values()])
    sent = [values[name][masks[name]] for name in names]
    halves = places + float16_bytes(sent) + sent_bytes(study.news) - HEADER_BYTES
    yield Point(f"{setting}, fp16", halves, study.weights(values))
    for bits in BITS:
        parts = {name: of_bits(own, bits) for name, own in zip(names, sent, strict=True)}
        differences = {name: np.zeros_like(values[name]) for name in names}
        for name, one in parts.items():
            differences[name][masks[name]] = one.values
        size = places - HEADER_BYTES + sent_bytes({**parts, **study.news})
        yield Point(f"{setting}, {bits} bits", size, study.weights(differences))


METHODS = (
    Method("head only", (0,), head_only),
    Method("norms and biases only", (0,), biases_only),
    Method("BitDelta", (False, True), signs_and_scales),
    Method("Konecny, structured", (2, 8, 24), structured),
    Method("FedPara", (1, 3, 8), hadamard_product),
    Method("deep partial updating", (0.01, 0.03, 0.1, 0.3), partial_updating, reads_trace=True),
    Method("AMS", (0.1, 0.03), model_streaming, reads_trace=True),
)
