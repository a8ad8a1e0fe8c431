"""What every training on images can be told; the command line is derived from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from splitnet.nn.architectures import INPUT_SIZES
from training.arguments import a_count, a_path, share, some_paths
from training.loop.machine import DEVICES, GPUS_HELP, PRECISION_HELP, check_device, check_gpus, device_kind
from training.loop.precision import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    """Settings of a training that needs images and a teacher, and no labels."""

    teacher: Path = field(
        metadata=a_path(
            "FILE",
            "unsplit detector: .onnx (batch norms folded in), .pth, .safetensors, or the --run of a `detector`",
        )
    )
    detector: str = field(
        default="yolox-nano", metadata={"choices": [*INPUT_SIZES], "help": "which one the teacher is"}
    )
    classes: Path = field(
        metadata=a_path("FILE.json", "COCO annotations whose categories are its classes; nothing else of them is read")
    )
    images: Sequence[Path] = field(
        metadata=some_paths(
            "DIR", "+", "folders of images to train on; name one twice to draw from it twice as often", "--photographs"
        )
    )
    exclude: Sequence[Path] = field(
        default=(),
        metadata=some_paths("FILE.json", "*", "COCO annotations: images with the numbers of theirs are not trained on"),
    )
    run: Path = field(metadata=a_path("DIR", "journal and checkpoint; a checkpoint there goes on"))
    input_size: int | None = field(
        default=None, metadata=a_count("side of the detector's square, pixels (default: the teacher's)")
    )
    steps: int = field(metadata=a_count("training steps in all, those of the checkpoint included"))
    batch_size: int = field(default=8, metadata=a_count("crops a step, of all processes together"))
    square: int = field(default=256, metadata=a_count("side of the crops in pixels, a multiple of 32"))
    threads: int | None = field(default=None, metadata=a_count("CPU threads of the networks (default: torch's choice)"))
    loaders: int = field(default=1, metadata=a_count("threads that read images"))
    start_from: Path | None = field(
        default=None, metadata=a_path("DIR", "another --run, whose last checkpoint a new run starts from")
    )
    start_progress: float = field(
        default=0.0,
        metadata={
            "type": share,
            "metavar": "X",
            "help": "with --start-from: share of the schedule that counts as done (default: 0)",
        },
    )
    device: str = field(default="auto", metadata={"choices": DEVICES, "help": "where to compute; auto: cuda if there"})
    gpus: int = field(default=1, metadata=a_count(GPUS_HELP))
    precision: str = field(default="auto", metadata={"choices": PRECISIONS, "help": PRECISION_HELP})
    seed: int = field(default=0, metadata={"help": "of weights, crops and draws (default: 0)"})

    def __post_init__(self) -> None:
        """Raise ConfigError on what this machine cannot do."""
        check_device(self.device)
        check_gpus(self.gpus, self.batch_size, self.device_kind)

    @property
    def device_kind(self) -> str:
        """Where to compute: "cpu" or "cuda"."""
        return device_kind(self.device)
