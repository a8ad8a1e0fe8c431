"""The fastest way to compute on a machine: `cloud-server tune` finds it, `serve --tuning` reads it. JSON on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from splitnet.atomic_write import write_json
from splitnet.errors import ConfigError
from splitnet.operating_point import Mode
from splitnet.regular_file import read_regular
from splitnet.settings import DEFAULT_BUNDLE, option

FORMAT_VERSION = 1
MAX_FILE_BYTES = 1_000_000
MIN_FIDELITY = 0.995


@dataclass(frozen=True)
class Tuning:
    """How a bundle is computed: what `tune` chooses among finds the same, within its tolerance.

    The last three are for CUDA, and written by hand: no machine with one has measured them yet.
    """

    threads: int = 0  # CPU threads of a batch; 0 lets torch or ONNX Runtime choose
    channels_last: bool = False
    onnxruntime: bool = False  # instead of torch, on a CPU
    bfloat16: bool = False  # in torch, on a CPU that has it, for features; images then as the others say
    half_precision: bool = False
    pinned_memory: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range, or two exclude each other."""
        if not 0 <= self.threads <= 1024:
            raise ConfigError(f"the tuning's threads must be between 0 and 1024, not {self.threads}")
        if self.onnxruntime and self.channels_last and not self.bfloat16:
            raise ConfigError("the tuning's onnxruntime excludes channels_last, which is torch's")

    def of_mode(self, mode: Mode) -> Tuning:
        """Return how frames of one mode are computed.

        Only features are computed in bfloat16: the whole detector, twice as deep, then misses one in a hundred of what
        it is sure of.
        """
        if not self.bfloat16:
            return self
        if mode is Mode.SPLIT:
            return replace(self, onnxruntime=False)
        return replace(self, bfloat16=False, channels_last=self.channels_last and not self.onnxruntime)


@dataclass(frozen=True)
class TuneConfig:
    """What to measure with, and where the choice goes."""

    bundle: Path = option("bundle to measure with", default=DEFAULT_BUNDLE, metavar="DIR")
    out: Path = option("where the choice goes", default=Path("tuning.json"), metavar="FILE")
    device: str = option(
        "where to compute; auto takes CUDA if present", default="auto", choices=("auto", "cpu", "cuda")
    )
    threads: int = option("CPU threads of a batch; 0 tries several numbers", default=0)
    batch_size: int = option("frames of a batch", default=8)
    rounds: int = option("how often each candidate has its turn", default=10)
    max_seconds: float = option("end the rounds when they have taken so long, whatever their number", default=60.0)
    images: Path | None = option(
        "images to judge by, best those of your cameras; synthetic ones if not given", default=None, metavar="DIR"
    )
    max_images: int = option("most images of that folder", default=64)
    min_fidelity: float = option(
        "least share of sure detections that a candidate must have in common with the plain way", default=MIN_FIDELITY
    )
    max_error: float = option(
        "how far raw predictions may be off the plain ones, as a share of the largest", default=1.0
    )

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if not (1 <= self.batch_size <= 1024 and 1 <= self.rounds <= 1000):
            raise ConfigError("--batch-size takes 1 to 1024, --rounds 1 to 1000")
        if not (0 <= self.threads <= 1024 and 1 <= self.max_images <= 10_000 and 0 <= self.max_seconds <= 86_400):
            raise ConfigError("--threads takes 0 to 1024, --max-images 1 to 10000, --max-seconds 0 to 86400")
        for name, value in (("max-error", self.max_error), ("min-fidelity", self.min_fidelity)):
            if not 0 <= value <= 1:
                raise ConfigError(f"--{name} takes 0 to 1, not {value}")


UNMEASURED = Tuning(channels_last=True)  # until `tune` has measured: a sixth faster on the CPUs seen so far


def in_words(tuning: Tuning) -> str:
    """Return a choice as people say it, such as "2 threads, channels last"."""
    ways = [field.name.replace("_", " ") for field in fields(tuning) if getattr(tuning, field.name) is True]
    threads = f"{tuning.threads} thread{'s' * (tuning.threads != 1)}" if tuning.threads else "threads as they come"
    return ", ".join([threads, *(ways or ["plain"])])


def write_tuning(path: Path, tuning: Tuning, facts: dict[str, Any]) -> None:
    """Write a choice, and beside it what it was made from."""
    values = {"format_version": FORMAT_VERSION, "choice": asdict(tuning), **facts}
    try:
        write_json(path, values)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error}") from error


def read_tuning(path: Path) -> Tuning:
    """Read a choice. Raises ConfigError if the file is missing or is no such choice."""
    try:
        values = json.loads(read_regular(path, MAX_FILE_BYTES))
        if values["format_version"] != FORMAT_VERSION:
            raise ConfigError(f"{path} is of another version: make it again with `cloud-server tune`")
        return _parse(values["choice"])
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not a tuning ({reason}): make one with `cloud-server tune`") from error


def _parse(choice: dict[str, Any]) -> Tuning:
    kinds = {field.name: type(field.default) for field in fields(Tuning)}
    for name, value in choice.items():
        if name not in kinds or type(value) is not kinds[name]:
            raise ValueError(f"{name} is {value!r}")
    return Tuning(**choice)
