"""Settings of `python -m training detector`; the command line is derived from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.errors import ConfigError
from splitnet.settings import option
from training.data.labelled_stream import MIN_SQUARE
from training.detectors.family import MODELS
from training.loop.machine import DEVICES, GPUS_HELP, PRECISION_HELP, check_device, check_gpus, device_kind
from training.loop.precision import PRECISIONS


def _path(metavar: str, text: str) -> dict[str, Any]:
    return {"type": Path, "metavar": metavar, "help": text}


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of a detector's training."""

    data: Path = option("COCO annotations of the images to train on", metavar="TRAIN.json")
    images: Path = option("folder that their file names start from", metavar="DIR")
    model: str = option("which detector", choices=MODELS)
    run: Path = option("journal, checkpoint and result; a checkpoint there goes on", metavar="DIR")
    init: Path | None = option(
        "start from .pth, .onnx, .safetensors, a bundle or another --run (default: random)",
        default=None,
        metavar="FILE",
    )
    init_classes: Path | None = option(
        "COCO annotations with the classes of --init: those of the same name are kept",
        default=None,
        metavar="FILE.json",
    )
    valid: Path | None = option("annotations to evaluate on; keeps the best", default=None, metavar="VALID.json")
    valid_images: Path | None = option("folder of its images (default: --images)", default=None, metavar="DIR")
    evaluate_every: int = option("steps between evaluations; the last step has one too", default=500)
    steps: int = option("training steps in all, those of the checkpoint included", default=1000)
    batch_size: int = option("images a step, of all processes together", default=8)
    square: int = option("side of the training square in pixels, a multiple of 32; 0: as published", default=0)
    optimiser: str = option(
        "auto: adamw with --init, sgd from random weights", default="auto", choices=("auto", "adamw", "sgd")
    )
    rate: float | None = option("peak learning rate (default: the optimiser's)", default=None, metavar="X")
    plain_share: float = option(
        "share of the steps, at the end, with whole images at the size of detection", default=0.15
    )
    mosaic_share: float = option(
        "share of the images before that which are mosaics of four; the others are zoomed", default=0.5
    )
    out: Path | None = option(
        "write what was evaluated, with commit and machine, there as well", default=None, metavar="FILE.json"
    )
    device: str = option("where to compute; auto: cuda if there", default="auto", choices=DEVICES)
    gpus: int = option(GPUS_HELP, default=1)
    precision: str = option(PRECISION_HELP, default="auto", choices=PRECISIONS)
    threads: int = option("CPU threads of the network; 0 lets torch choose", default=0)
    loaders: int = option("threads that read images", default=1)
    seed: int = option("of weights, order and draws", default=0)

    def __post_init__(self) -> None:
        """Raise ConfigError on numbers that no training has."""
        for name in ("evaluate_every", "steps", "batch_size", "loaders"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}, must be at least 1")
        if self.square % 32 or (self.square and self.square < MIN_SQUARE):
            raise ConfigError(f"--square is {self.square}, must be a multiple of 32 from {MIN_SQUARE} on")
        if self.threads < 0 or self.seed < 0:
            raise ConfigError("--threads and --seed must be at least 0")
        if not 0 <= self.mosaic_share <= 1:
            raise ConfigError(f"--mosaic-share is {self.mosaic_share}, must be from 0 to 1")
        if self.init is None and self.init_classes is not None:
            raise ConfigError("--init-classes names the classes of --init: give that too")
        if self.valid is None and self.valid_images is not None:
            raise ConfigError("--valid-images belongs to --valid: give that too")
        check_device(self.device)
        check_gpus(self.gpus, self.batch_size, self.device_kind)

    @property
    def device_kind(self) -> str:
        """Where to compute: "cpu" or "cuda"."""
        return device_kind(self.device)
