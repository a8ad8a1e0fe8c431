"""What `python -m training distill` can be told; the command line is derived from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from splitnet.nn.architectures import SPLIT_POINTS
from splitnet.nn.encoder.slimmable import SlimmableSpec
from training.arguments import a_count, a_path
from training.distillation.image_settings import ImageSettings
from training.distillation.recipe import RECIPES, Recipe


@dataclass(frozen=True, kw_only=True)
class DistillSettings(ImageSettings):
    """Settings of a split detector's training, and of its bundle."""

    steps: int = field(default=5800, metadata=a_count("training steps in all, those of the checkpoint included"))
    start_from: Path | None = field(
        default=None,
        metadata=a_path(
            "DIR",
            "another --run, whose last checkpoint a new run starts from; if that is of other classes, or a bundle, "
            "what it has learnt but the classes",
        ),
    )
    bundle: Path = field(metadata=a_path("DIR", "where the bundle goes; its name is the bundle's"))
    split_point: str = field(
        default="dark3",
        metadata={"choices": SPLIT_POINTS, "help": "the device stands in for the detector's stages up to here"},
    )
    unsplit: Path | None = field(
        default=None,
        metadata=a_path(
            "DIR", "the --run of a `recompress` or `detector`, the bundle's unsplit detector (default: the teacher)"
        ),
    )
    table_images: int = field(
        default=400, metadata=a_count("images to fit the entropy tables on, at most", "--table-photographs")
    )
    licence: str = field(default="Apache-2.0", metadata={"metavar": "TEXT", "help": "of the weights"})
    frozen_norm: bool = field(
        default=False, metadata={"help": "keep the encoder's normalisation as it is: for a last, gentle run"}
    )
    train_front: bool = field(
        default=False, metadata={"help": "train a front's own stages too: for a last run, a third slower"}
    )
    tail_rate: float | None = field(
        default=None,
        metadata={
            "type": float,
            "metavar": "X",
            "help": "peak learning rate of the pretrained rest of the detector (default: "
            f"{Recipe.tail_rate:g}, which keeps what it knows of much; a detector of few classes bears more)",
        },
    )
    crop_scales: Sequence[float] = field(
        default=(),
        metadata={
            "type": float,
            "nargs": 2,
            "metavar": ("LOW", "HIGH"),
            "help": "scales of the crops, at 1 of which an image just fits the detector's square (default: so that "
            "all widths see their size): for a last run for the large widths",
        },
    )
    compile: bool = field(
        default=False, metadata={"help": "fuse the networks (needs a C++ compiler): minutes first, then faster"}
    )
    encoder: str = field(
        default="front",
        metadata={
            "choices": sorted(RECIPES),
            "help": "front: the detector's own stages, widths are sizes of the image; ensemble: members from random "
            "weights, widths are how many run; slimmable: one network from random weights, "
            "widths are its leading channels",
        },
    )
    sides: Sequence[int] = field(
        default=(),
        metadata={
            **a_count(
                "a front's widths: pixels a side of the square that frames are fitted into, rising to the "
                "detector's own (default: a half, 5/8, 3/4 and all of it)"
            ),
            "nargs": "+",
        },
    )
    shares: Sequence[int] = field(
        default=(),
        metadata={
            **a_count(
                "a slimmable's widths: percent of its channels, rising to 100 "
                f"(default: {' '.join(map(str, SlimmableSpec.shares))})"
            ),
            "nargs": "+",
        },
    )
    slice_latent: str = field(
        default="quality",
        metadata={
            "choices": ("quality", "width", "nothing"),
            "help": "what a slimmable's latent is sliced by: coarser qualities send, or narrower widths fill, "
            "its leading channels only",
        },
    )
    only: Sequence[int] = field(
        default=(),
        metadata={
            "type": int,
            "nargs": 2,
            "metavar": ("WIDTH", "QUALITY"),
            "help": "train a network for one width (from 1) and one trained quality (from 0) of a slimmable or a front "
            "alone: what one training for all of them is measured against",
        },
    )
    finer: int = field(default=2, metadata=a_count("steps of the bundle's qualities for each step of the trained ones"))
