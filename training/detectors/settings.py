"""What `python -m training detector` can be told; the command line is derived from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from splitnet.errors import ConfigError
from training.data.labelled_stream import MIN_SQUARE
from training.detectors.family import MODELS
from training.loop.machine import DEVICES, GPUS_HELP, PRECISION_HELP, check_device, check_gpus, device_kind
from training.loop.precision import PRECISIONS


def _path(metavar: str, text: str) -> dict[str, Any]:
    return {"type": Path, "metavar": metavar, "help": text}


@dataclass(frozen=True)
class DetectorSettings:
    """Settings of a detector's training."""

    data: Path = field(metadata=_path("TRAIN.json", "COCO annotations of the images to train on"))
    images: Path = field(metadata=_path("DIR", "folder that their file names start from"))
    model: str = field(metadata={"type": str, "choices": MODELS, "help": "which detector"})
    run: Path = field(metadata=_path("DIR", "journal, checkpoint and result; a checkpoint there goes on"))
    init: Path | None = field(
        default=None,
        metadata=_path("FILE", "start from .pth, .onnx, .safetensors, a bundle or another --run (default: random)"),
    )
    init_classes: Path | None = field(
        default=None,
        metadata=_path("FILE.json", "COCO annotations with the classes of --init: those of the same name are kept"),
    )
    valid: Path | None = field(default=None, metadata=_path("VALID.json", "annotations to evaluate on; keeps the best"))
    valid_images: Path | None = field(default=None, metadata=_path("DIR", "folder of its images (default: --images)"))
    evaluate_every: int = field(default=500, metadata={"help": "steps between evaluations; the last step has one too"})
    steps: int = field(default=1000, metadata={"help": "training steps in all, those of the checkpoint included"})
    batch_size: int = field(default=8, metadata={"help": "images a step, of all processes together"})
    square: int = field(
        default=0, metadata={"help": "side of the training square in pixels, a multiple of 32; 0: as published"}
    )
    optimiser: str = field(
        default="auto",
        metadata={"choices": ("auto", "adamw", "sgd"), "help": "auto: adamw with --init, sgd from random weights"},
    )
    rate: float | None = field(
        default=None, metadata={"type": float, "metavar": "X", "help": "peak learning rate (default: the optimiser's)"}
    )
    plain_share: float = field(
        default=0.15, metadata={"help": "share of the steps, at the end, with whole images at the size of detection"}
    )
    mosaic_share: float = field(
        default=0.5,
        metadata={"help": "share of the images before that which are mosaics of four; the others are zoomed"},
    )
    out: Path | None = field(
        default=None, metadata=_path("FILE.json", "write what was evaluated, with commit and machine, there as well")
    )
    device: str = field(default="auto", metadata={"choices": DEVICES, "help": "where to compute; auto: cuda if there"})
    gpus: int = field(default=1, metadata={"help": GPUS_HELP})
    precision: str = field(default="auto", metadata={"choices": PRECISIONS, "help": PRECISION_HELP})
    threads: int = field(default=0, metadata={"help": "CPU threads of the network; 0 lets torch choose"})
    loaders: int = field(default=1, metadata={"help": "threads that read images"})
    seed: int = field(default=0, metadata={"help": "of weights, order and draws"})

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
