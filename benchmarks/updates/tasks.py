"""What a model changes for: the model that devices have, images to train on, decoded once, and others to judge by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.updates.drift import DRIFTS, Image
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import load_manifest
from splitnet.nn.yolox.network import YOLOX
from training.data.augment import grey
from training.data.batch_stream import BatchStream
from training.data.coco import read_coco
from training.data.coco_file import class_names_of
from training.data.crops import check_square
from training.data.images import read_image
from training.data.labelled_stream import LabelledBatch, LabelledStream, StreamSpec
from training.detectors.yolox.family import PRIOR
from training.detectors.yolox.weights import read_yolox
from training.evaluation.average_precision import LabelledSet, ObjectSet

MODEL = "yolox-nano"
BUNDLES = Path("bundles")
HIGHWAY = "highway"


@dataclass(frozen=True)
class TaskSource:
    """Where a task comes from."""

    folder: str  # of --data: train.json, valid.json, and their images
    bundle: str  # whose detector devices have
    drift: str = ""
    trained: str = ""  # bundle whose detector is the full training's result, if there is one


SOURCES = {
    "bccd": TaskSource("bccd", "coco-nano"),
    "debris": TaskSource("debris", "coco-nano"),
    HIGHWAY: TaskSource(HIGHWAY, "coco-nano", trained="highway-nano"),
    **{name: TaskSource(HIGHWAY, "highway-nano", name) for name in DRIFTS},
}


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """Images (N, 3, S, S) float32 0..255 and the objects of each: boxes (n, 4) in pixels, labels (n,)."""

    images: Tensor
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images that nothing is trained on."""

    images: Tensor  # (N, 3, S, S) float32
    places: tuple[Letterbox, ...]
    labelled: ObjectSet


@dataclass(eq=False)
class Task:
    """One change of scene."""

    name: str
    network: YOLOX  # of the new classes; its weights are nobody's
    base: dict[str, Tensor]  # what devices have, float16 in value; a tensor of other classes has another shape
    start: dict[str, Tensor]  # the same, fitted to the new classes
    trained: dict[str, Tensor] | None  # the full training's result, if the project has it
    held_out: HeldOut
    make_pool: Callable[[], tuple[TrainingBatch, ...]]

    @cached_property
    def pool(self) -> tuple[TrainingBatch, ...]:
        """Images to train on, decoded when they are first asked for."""
        return self.make_pool()

    @property
    def new_names(self) -> list[str]:
        """Tensors that devices do not have in this shape: they are sent whole."""
        return [name for name, value in self.start.items() if self.base[name].shape != value.shape]


@dataclass(frozen=True)
class PoolSpec:
    """How much is decoded, and how large."""

    square: int
    batches: int
    batch_size: int
    held_out: int

    def __post_init__(self) -> None:
        """Raise ConfigError on a square that no detector takes, and on nothing to look at."""
        check_square(self.square)
        if min(self.batches, self.batch_size, self.held_out) < 1:
            raise ConfigError("--batches, --batch-size and --limit must be at least 1")


def load_task(name: str, data: Path, spec: PoolSpec, seed: int) -> Task:
    """Return a task. ConfigError if its data are not there."""
    source = SOURCES[name]
    folder = data / source.folder
    if not (folder / "train.json").is_file():
        raise ConfigError(f"{folder} has no train.json: docs/updates.md says how the tasks are made")
    class_names = class_names_of(folder / "train.json")
    base = _weights(source.bundle)
    known = load_manifest(BUNDLES / source.bundle).class_names
    network = YOLOX(MODEL, len(class_names), fused=True).eval()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    start = _as_sent(_fitted(base, network, _kept(class_names, known)))
    trained = _weights(source.trained) if source.trained else None
    held_out = _held_out(folder, class_names, spec, source.drift)
    return Task(name, network, base, start, trained, held_out, lambda: _pool(folder, source.drift, spec, seed))


def _weights(bundle: str) -> dict[str, Tensor]:
    return _as_sent(read_yolox(BUNDLES / bundle, MODEL).state_dict())


def _pool(folder: Path, drift: str, spec: PoolSpec, seed: int) -> tuple[TrainingBatch, ...]:
    train = read_coco(folder / "train.json", _images(folder, "train"))
    with LabelledStream(train, StreamSpec(spec.square, spec.batch_size, plain_from=0, seed=seed)) as stream:
        return tuple(_batch(stream, number, drift) for number in range(spec.batches))


def _images(folder: Path, half: str) -> Path:
    return folder / half if (folder / half).is_dir() else folder / "images"


def _batch(stream: BatchStream[LabelledBatch], number: int, drift: str) -> TrainingBatch:
    made = stream.batch(number)
    images = np.stack([_drifted(image, drift) for image in made.images])
    boxes, labels = ([torch.from_numpy(one) for one in values] for values in (made.boxes, made.labels))
    return TrainingBatch(_tensor(images), tuple(boxes), tuple(labels))


def _held_out(folder: Path, class_names: Sequence[str], spec: PoolSpec, drift: str) -> HeldOut:
    labelled = LabelledSet(_images(folder, "valid"), folder / "valid.json", class_names, None)
    every = max(1, len(labelled.images) // spec.held_out)
    chosen = labelled.images[::every][: spec.held_out]
    images, places = zip(*(_canvas(image.path, spec.square, drift) for image in chosen), strict=True)
    return HeldOut(_tensor(np.stack(images)), places, labelled.of_images(chosen))


def _canvas(path: Path, square: int, drift: str) -> tuple[Image, Letterbox]:
    frame = read_image(path)
    if frame is None:
        raise ConfigError(f"{path} is not a readable image")
    place = Letterbox.fit(frame.shape[1], frame.shape[0], square)
    canvas = grey(square, square)
    fitted = place.apply(frame)
    canvas[: fitted.shape[0], : fitted.shape[1]] = fitted
    return _drifted(canvas, drift), place


def _drifted(image: Image, drift: str) -> Image:
    return DRIFTS[drift](image) if drift else image


def _tensor(images: Image) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)


def _kept(wanted: Sequence[str], known: Sequence[str]) -> list[int | None]:
    index = {name.casefold(): number for number, name in enumerate(known)}
    return [index.get(name.casefold()) for name in wanted]


@torch.no_grad()
def _fitted(base: dict[str, Tensor], network: nn.Module, kept: Sequence[int | None]) -> dict[str, Tensor]:
    """Return the weights of a model of other classes: those of the same name as they were, the others know nothing."""
    fitted = {}
    for name, own in network.state_dict().items():
        if base[name].shape == own.shape:
            fitted[name] = base[name].clone()
            continue
        is_bias = own.dim() == 1
        fitted[name] = torch.full_like(own, float(np.log(PRIOR / (1 - PRIOR)))) if is_bias else torch.zeros_like(own)
        for label, source in enumerate(kept):
            if source is not None:
                fitted[name][label] = base[name][source]
    return fitted


def _as_sent(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights as devices hold them: in float16, here in float32 again."""
    return {name: value.detach().half().float() for name, value in weights.items()}
