"""`cloud-server tune`: what is fastest on this machine, by trying.

All candidates take turns, round after round, and the fastest round of each counts: a machine that others use
slows all of them alike. A candidate must beat the plain one by a margin, and find the same.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cloud_server.compute.bundle_model import BundleModel, DecodedFrame, choose_device
from cloud_server.compute.onnx_module import is_installed
from cloud_server.compute.tuning import MAX_RAW_ERROR, TuneConfig, Tuning
from splitnet.bundle import load_server
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.operating_point import Mode

MARGIN = 0.03  # by which a candidate must be faster than the plain one to be chosen
CPU_FLAGS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Measurement:
    """One candidate's figures."""

    tuning: Tuning
    ms_per_frame: float  # of its fastest round
    error: float  # of its raw predictions, relative to the plain candidate's


def candidates(cores: int, has_runtime: bool, has_bfloat16: bool) -> list[Tuning]:
    """Return what is tried on a CPU; the first one is the plain one."""
    threads = sorted({1, max(1, cores // 2), cores}, reverse=True)
    ways: list[dict[str, bool]] = [{}, {"channels_last": True}]
    ways += [{"onnxruntime": True}] * has_runtime
    ways += [{"channels_last": True, "bfloat16": True}] * has_bfloat16
    return [Tuning(threads=count, **way) for count in threads for way in ways]


def cuda_candidates() -> list[Tuning]:
    """Return what is tried on a GPU; the first one is the plain one."""
    names = ("half_precision", "channels_last", "cuda_graphs", "pinned_memory")
    choices = itertools.product((False, True), repeat=len(names))
    return [Tuning(**dict(zip(names, choice, strict=True))) for choice in choices]


def has_bfloat16(cpu_flags: str) -> bool:
    """Return whether a processor computes in bfloat16, from the text of /proc/cpuinfo."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu_flags.split()))


def tune(config: TuneConfig) -> tuple[Tuning, dict[str, Any]]:
    """Return the choice, and the figures it was made from as JSON values. Raises BundleError, ConfigError."""
    device = choose_device(config.device)
    tried = cuda_candidates() if device.type == "cuda" else _cpu_candidates()
    measured = measure(config, tried, device)
    tuning = choose(measured, config.max_error)
    rows = [{**asdict(one.tuning), "ms_per_frame": one.ms_per_frame, "error": one.error} for one in measured]
    facts = {"batch_size": config.batch_size, "max_error": config.max_error, "device": device.type}
    return tuning, {**facts, "measured": rows, **environment()}


def measure(config: TuneConfig, tunings: Sequence[Tuning], device: torch.device) -> list[Measurement]:
    """Let the candidates take turns; what cannot run here is left out, but for the first.

    The number of threads is torch's own again afterwards. Raises BundleError, ConfigError.
    """
    threads = torch.get_num_threads()
    try:
        models = [model for tuning in tunings if (model := _prepared(config.bundle, device, tuning)) is not None]
        if not models or models[0].tuning != tunings[0]:
            raise ConfigError("not even the plain way of computing runs here: see `cloud-server serve`")
        batch = _batch(models[0], config.batch_size)
        raw = [model.raw(Mode.SPLIT, batch) for model in models]
        best_s = [float("inf")] * len(models)
        for _ in range(config.rounds):
            for index, model in enumerate(models):
                best_s[index] = min(best_s[index], _seconds(model, batch))
    finally:
        torch.set_num_threads(threads)
    scale = float(raw[0].abs().max())
    errors = [float((one - raw[0]).abs().max()) / scale for one in raw]
    return [
        Measurement(model.tuning, 1000 * seconds / len(batch), error)
        for model, seconds, error in zip(models, best_s, errors, strict=True)
    ]


def choose(measured: Sequence[Measurement], max_error: float = MAX_RAW_ERROR) -> Tuning:
    """Return the fastest candidate that finds the same, or the plain one if none is clearly faster."""
    plain = measured[0]
    sound = [one for one in measured if one.error <= max_error]
    best = min(sound, key=lambda one: one.ms_per_frame, default=plain)
    return best.tuning if best.ms_per_frame < (1 - MARGIN) * plain.ms_per_frame else plain.tuning


def _cpu_candidates() -> list[Tuning]:
    flags = CPU_FLAGS.read_text() if CPU_FLAGS.exists() else ""
    return candidates(os.cpu_count() or 1, is_installed(), has_bfloat16(flags))


def _prepared(bundle: Path, device: torch.device, tuning: Tuning) -> BundleModel | None:
    """Return a model ready to run, or None if this way of computing does not exist here. Raises BundleError."""
    try:
        model = BundleModel(load_server(bundle), device, tuning)
    except ConfigError:
        return None
    model.prepare()
    return model


def _seconds(model: BundleModel, batch: Sequence[DecodedFrame]) -> float:
    if model.tuning.threads:
        torch.set_num_threads(model.tuning.threads)
    start = time.perf_counter()
    model.infer(Mode.SPLIT, batch)
    return time.perf_counter() - start


def _batch(model: BundleModel, size: int) -> list[DecodedFrame]:
    """Return frames of noise, at the full width."""
    rng = np.random.default_rng(0)
    blank = model.blank(Mode.SPLIT)
    shape = blank.data.shape
    return [
        DecodedFrame(np.rint(rng.laplace(0.0, 1.0, shape)).astype(np.int16), blank.point, blank.letterbox)
        for _ in range(size)
    ]
