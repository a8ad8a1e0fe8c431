"""Settings of `python -m training distill`; the command line is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitnet.nn.architectures import SPLIT_POINTS
from splitnet.nn.encoder.front_ensemble import FrontEnsembleSpec
from splitnet.nn.encoder.sliced_front import SlicedFrontSpec
from splitnet.nn.encoder.slimmable import SlimmableSpec
from splitnet.settings import count, option
from training.distillation.image_settings import ImageSettings
from training.distillation.recipe import RECIPES, Recipe


@dataclass(frozen=True, kw_only=True)
class DistillSettings(ImageSettings):
    """Settings of a split detector's training, and of its bundle."""

    steps: int = option("training steps in all, those of the checkpoint included", default=5800, type=count)
    start_from: Path | None = option(
        "another --run, whose last checkpoint a new run starts from; if that is of other classes, or a bundle, "
        "what it has learnt but the classes",
        default=None,
        metavar="DIR",
    )
    complete: Path | None = option(
        "a bundle with a front: keep its device half as it is, and train another server half for its devices "
        "(--teacher, --detector and --split-point then say which)",
        default=None,
        metavar="DIR",
    )
    bundle: Path = option("where the bundle goes; its name is the bundle's", metavar="DIR")
    split_point: str = option(
        "the device stands in for the detector's stages up to here", default="dark3", choices=SPLIT_POINTS
    )
    unsplit: Path | None = option(
        "the --run of a `recompress` or `detector`, the bundle's unsplit detector (default: the teacher)",
        default=None,
        metavar="DIR",
    )
    table_images: int = option(
        "images to fit the entropy tables on, at most", default=400, type=count, aliases=("--table-photographs",)
    )
    licence: str = option("of the weights", default="Apache-2.0", metavar="TEXT")
    frozen_norm: bool = option("keep the encoder's normalisation as it is: for a last, gentle run", default=False)
    train_front: bool = option("train a front's own stages too: for a last run, a third slower", default=False)
    tail_rate: float | None = option(
        "peak learning rate of the pretrained rest of the detector (default: "
        f"{Recipe.tail_rate:g}, which keeps what it knows of much; a detector of few classes bears more)",
        default=None,
        metavar="X",
    )
    crop_scales: Sequence[float] = option(
        "scales of the crops, at 1 of which an image just fits the detector's square (default: so that "
        "all widths see their size): for a last run for the large widths",
        default=(),
        metavar=("LOW", "HIGH"),
        nargs=2,
    )
    video: Sequence[Path] = option(
        "clips whose neighbouring frames --consistency compares (default: a camera at rest on the images)",
        default=(),
        metavar="FILE",
        nargs="+",
    )
    consistency: float = option(
        "weight of what the changes between two neighbouring frames would take, beside what whole frames take "
        "(default: 0, nothing; a try: 1)",
        default=0.0,
        metavar="W",
    )
    compile: bool = option("fuse the networks (needs a C++ compiler): minutes first, then faster", default=False)
    encoder: str = option(
        "front: the detector's own stages, widths are sizes of the image; ensemble: members from random "
        "weights, widths are how many run; slimmable: one network from random weights, "
        "widths are its leading channels",
        default="front",
        choices=sorted(RECIPES),
    )
    sides: Sequence[int] = option(
        "a front's widths: pixels a side of the square that frames are fitted into, rising to the "
        "detector's own (default: a half, 5/8, 3/4 and all of it)",
        default=(),
        type=count,
        nargs="+",
    )
    shares: Sequence[int] = option(
        "percent of the channels, rising to 100: a slimmable's widths, or a sliced-front's at each of its sides; one "
        "for the second member of a front-ensemble (default: "
        f"{' '.join(map(str, SlimmableSpec.shares))}; {' '.join(map(str, SlicedFrontSpec.shares))}; "
        f"{FrontEnsembleSpec.share})",
        default=(),
        type=count,
        nargs="+",
    )
    slice_latent: str = option(
        "what a slimmable's latent is sliced by: coarser qualities send, or narrower widths fill, "
        "its leading channels only",
        default="quality",
        choices=("quality", "width", "nothing"),
    )
    only: Sequence[int] = option(
        "train a network for one width (from 1) and one trained quality (from 0) of a slimmable or a front "
        "alone: what one training for all of them is measured against",
        default=(),
        metavar=("WIDTH", "QUALITY"),
        nargs=2,
    )
    finer: int = option("steps of the bundle's qualities for each step of the trained ones", default=2, type=count)
