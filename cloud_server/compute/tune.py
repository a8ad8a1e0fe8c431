"""The fastest sound way of computing a bundle on this machine, by trying.

All candidates take turns, round after round, and the fastest round of each counts: a machine that others use
slows all of them alike. A candidate must beat the plain one by a margin, and users must see the same: nearly all that
either is sure of is found by the other, too. Numbers inside the network may differ.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from cloud_server.compute.bundle_model import BundleModel, choose_device
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.onnx_module import is_installed
from cloud_server.compute.samples import Samples, samples
from cloud_server.compute.tuning import TuneConfig, Tuning
from splitnet.bundle import ServerBundle, load_server
from splitnet.detections import Detections
from splitnet.environment import environment
from splitnet.errors import ConfigError
from splitnet.fidelity import THRESHOLDS, fidelity, telling_threshold
from splitnet.operating_point import Mode

MARGIN = 0.03  # by which a candidate must be faster than the plain one to be chosen
CPU_FLAGS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Measurement:
    """One candidate's figures."""

    tuning: Tuning
    ms_per_frame: float  # of its fastest round
    fidelity: float  # share of sure detections that it and the plain candidate have in common, of the worse mode
    error: float  # of its raw predictions, relative to the largest of the plain candidate's

    def to_json(self) -> dict[str, Any]:
        """Return the figures beside the settings."""
        figures = {"ms_per_frame": self.ms_per_frame, "fidelity": self.fidelity, "error": self.error}
        return {**asdict(self.tuning), **figures}


def cpu_ways(threads: int, has_runtime: bool, has_bfloat16: bool) -> list[Tuning]:
    """Return what is tried on a CPU; the first one is the plain one."""
    ways: list[dict[str, bool]] = [{}, {"channels_last": True}]
    ways += [{"onnxruntime": True}] * has_runtime
    ways += [{"channels_last": True, "bfloat16": True, "onnxruntime": has_runtime}] * has_bfloat16
    return [Tuning(threads=threads, **way) for way in ways]


def cuda_ways() -> list[Tuning]:
    """Return what is tried on a GPU; the first one is the plain one, and each of the others adds something."""
    names = ("half_precision", "channels_last", "cuda_graphs", "pinned_memory")
    added = [dict.fromkeys(names[: count + 1], True) for count in range(len(names))]
    return [Tuning(), *(Tuning(**way) for way in added), Tuning(cuda_graphs=True)]


def thread_counts(cores: int) -> list[int]:
    """Return the numbers of threads that are tried, the most first."""
    return sorted({1, max(1, cores // 2), cores}, reverse=True)


def usable_cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16(cpu_flags: str) -> bool:
    """Return whether a processor computes in bfloat16, from the text of /proc/cpuinfo."""
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(cpu_flags.split()))


def tune(config: TuneConfig) -> tuple[Tuning, dict[str, Any]]:
    """Return the choice, and the figures it was made from as JSON values. Raises BundleError, ConfigError."""
    device = choose_device(config.device)
    trial = Trial(config, device)
    threads = torch.get_num_threads()
    try:
        measured = trial.measure(_ways(config, device))
        chosen = choose(measured, config)
        if device.type == "cpu" and not config.threads:
            counts = trial.vary_threads(chosen, thread_counts(usable_cores()))
            measured += [one for one in counts if one.tuning.threads != chosen.tuning.threads]
            chosen = min(counts, key=lambda one: one.ms_per_frame)
    finally:
        torch.set_num_threads(threads)
    asked = {"batch_size": config.batch_size, "min_fidelity": config.min_fidelity, "device": device.type}
    rows = [one.to_json() for one in measured]
    return chosen.tuning, {"bundle_name": trial.name, **asked, "measured": rows, **environment()}


class Trial:
    """Runs a bundle in several ways, on the same frames."""

    def __init__(self, config: TuneConfig, device: torch.device) -> None:
        """Load a bundle and what to measure it with. Raises BundleError, and ConfigError if there are no images."""
        self._config = config
        self._device = device
        self._bundle = load_server(config.bundle)
        self._exports: dict[Mode, bytes] = {}
        self._samples = samples(config.bundle, config.images, config.max_images)
        self._batch = _repeated(self._samples[Mode.SPLIT], config.batch_size)

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._bundle.manifest.name

    def measure(self, tunings: Sequence[Tuning]) -> list[Measurement]:
        """Let candidates take turns, and compare what they find with what the first one finds.

        What cannot run here is left out. Raises ConfigError if the first one cannot.
        """
        models = self._prepared(tunings)
        if not models or models[0].tuning != tunings[0]:
            raise ConfigError("not even the plain way of computing runs here: see `cloud-server serve`")
        findings = [Findings.of(model, self._samples) for model in models]
        return [
            Measurement(model.tuning, ms, *findings[0].compared(found))
            for model, ms, found in zip(models, self._times_ms(models), findings, strict=True)
        ]

    def vary_threads(self, measured: Measurement, counts: Sequence[int]) -> list[Measurement]:
        """Let numbers of threads take turns at one way of computing, which finds the same with any of them."""
        models = self._prepared([replace(measured.tuning, threads=count) for count in counts])
        times_ms = self._times_ms(models)
        return [
            replace(measured, tuning=model.tuning, ms_per_frame=ms) for model, ms in zip(models, times_ms, strict=True)
        ]

    def _times_ms(self, models: Sequence[BundleModel]) -> list[float]:
        """Return how long each takes for a frame, in its fastest round."""
        best_s = [float("inf")] * len(models)
        until = time.perf_counter() + self._config.max_seconds / 2  # ways, then numbers of threads
        for _ in range(self._config.rounds):
            for index, model in enumerate(models):
                best_s[index] = min(best_s[index], _seconds(model, self._batch))
            if time.perf_counter() > until:
                break
        return [1000 * seconds / len(self._batch) for seconds in best_s]

    def _prepared(self, tunings: Sequence[Tuning]) -> list[BundleModel]:
        """Return models ready to run, without the ways of computing that do not exist here."""
        models = []
        for tuning in tunings:
            with suppress(ConfigError):
                model = BundleModel(_copied(self._bundle), self._device, tuning, self._exports)
                model.prepare()
                models.append(model)
        return models


@dataclass(frozen=True)
class Findings:
    """What a model makes of sample frames: raw predictions of the features, and detections of each mode."""

    raw: torch.Tensor
    found: Mapping[Mode, Sequence[Detections]]  # above the lowest threshold

    @classmethod
    def of(cls, model: BundleModel, frames: Samples) -> Findings:
        """Let a model look at frames, in every mode that it has."""
        _set_threads(model)
        found = {mode: model.infer(mode, frames[mode], min(THRESHOLDS)) for mode in model.modes}
        return cls(model.raw(Mode.SPLIT, frames[Mode.SPLIT]), found)

    def compared(self, other: Findings) -> tuple[float, float]:
        """Return the fidelity of others to these in the worse mode, and how far off their raw predictions are."""
        shares = [fidelity(one, other.found[mode], telling_threshold(one)) for mode, one in self.found.items()]
        error = float((other.raw - self.raw).abs().max()) / max(float(self.raw.abs().max()), 1e-9)
        return min(shares), error


def choose(measured: Sequence[Measurement], config: TuneConfig) -> Measurement:
    """Return the fastest candidate that finds the same, or the plain one if none is clearly faster."""
    plain = measured[0]
    sound = [one for one in measured if one.fidelity >= config.min_fidelity and one.error <= config.max_error]
    best = min(sound, key=lambda one: one.ms_per_frame, default=plain)
    return best if best.ms_per_frame < (1 - MARGIN) * plain.ms_per_frame else plain


def _ways(config: TuneConfig, device: torch.device) -> list[Tuning]:
    if device.type == "cuda":
        return cuda_ways()
    flags = CPU_FLAGS.read_text() if CPU_FLAGS.exists() else ""
    # One thread, if any number will do: several wait for one another where the machine has other work.
    return cpu_ways(config.threads or 1, is_installed(), has_bfloat16(flags))


def _copied(bundle: ServerBundle) -> ServerBundle:
    """Return a bundle whose networks may be moved and cast, and leave this one as it is."""
    return replace(bundle, half=copy.deepcopy(bundle.half), detector=copy.deepcopy(bundle.detector))


def _repeated(frames: Sequence[DecodedFrame], size: int) -> list[DecodedFrame]:
    return [frames[index % len(frames)] for index in range(size)]


def _set_threads(model: BundleModel) -> None:
    if model.tuning.threads:
        torch.set_num_threads(model.tuning.threads)


def _seconds(model: BundleModel, batch: Sequence[DecodedFrame]) -> float:
    _set_threads(model)
    start = time.perf_counter()
    model.infer(Mode.SPLIT, batch)
    return time.perf_counter() - start
