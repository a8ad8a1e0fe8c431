"""Settings of every training on images; the command line is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitnet.nn.architectures import INPUT_SIZES
from splitnet.settings import count, option, share
from training.loop.machine import DEVICES, GPUS_HELP, PRECISION_HELP, check_device, check_gpus, device_kind
from training.loop.precision import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Settings of a training that needs images and a teacher, and no labels."""

    teacher: Path = option(
        "unsplit detector: .onnx (batch norms folded in), .pth, .safetensors, or the --run of a `detector`",
        metavar="FILE",
    )
    detector: str = option("which one the teacher is", default="yolox-nano", choices=[*INPUT_SIZES])
    classes: Path = option(
        "COCO annotations whose categories are its classes; nothing else of them is read", metavar="FILE.json"
    )
    images: Sequence[Path] = option(
        "folders of images to train on; name one twice to draw from it twice as often",
        metavar="DIR",
        nargs="+",
        aliases=("--photographs",),
    )
    exclude: Sequence[Path] = option(
        "COCO annotations: images with the numbers of theirs are not trained on",
        default=(),
        metavar="FILE.json",
        nargs="*",
    )
    run: Path = option("journal and checkpoint; a checkpoint there goes on", metavar="DIR")
    input_size: int | None = option(
        "side of the detector's square, pixels (default: the teacher's)", default=None, type=count
    )
    steps: int = option("training steps in all, those of the checkpoint included", type=count)
    batch_size: int = option("crops a step, of all processes together", default=8, type=count)
    square: int = option("side of the crops in pixels, a multiple of 32", default=256, type=count)
    threads: int | None = option("CPU threads of the networks (default: torch's choice)", default=None, type=count)
    loaders: int = option("threads that read images", default=1, type=count)
    start_from: Path | None = option(
        "another --run, whose last checkpoint a new run starts from", default=None, metavar="DIR"
    )
    start_progress: float = option(
        "with --start-from: share of the schedule that counts as done (default: 0)",
        default=0.0,
        type=share,
        metavar="X",
    )
    device: str = option("where to compute; auto: cuda if there", default="auto", choices=DEVICES)
    gpus: int = option(GPUS_HELP, default=1, type=count)
    precision: str = option(PRECISION_HELP, default="auto", choices=PRECISIONS)
    seed: int = option("of weights, crops and draws (default: 0)", default=0)

    def __post_init__(self) -> None:
        """Raise ConfigError on what this machine cannot do."""
        check_device(self.device)
        check_gpus(self.gpus, self.batch_size, self.device_kind)

    @property
    def device_kind(self) -> str:
        """Where to compute: "cpu" or "cuda"."""
        return device_kind(self.device)
