"""Average precision of a whole run, in which a frame that comes late or never counts as one without detections.

Every labelled image goes once through every operating point, by the real bitstream. Its detections are matched against
its boxes once (`training.evaluation.matches`). To average precision, an image at an operating point is an image of its
own. So is the image at which nobody has looked. A run is then only a number of times that each of them was seen.
Detections of all frames are ranked together, and the boxes of all of them are to be found, those of late and dropped
frames too.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from splitnet.operating_point import LOCAL, OperatingPoint, parse_point
from training.evaluation.matches import THRESHOLDS, ClassMatches, Evaluated, Floats, Matches, matches_from_coco

FORMAT_VERSION = 4  # 1: detections of all classes in one list; 2: other names; 3: no frames in layers
DETECTIONS = ("images", "hits", "ignored")  # fields of ClassMatches with a column for each detection


@dataclass(frozen=True)
class InPart:
    """An operating point of which only the first layers were used."""

    point: OperatingPoint
    used: int


Seen = OperatingPoint | InPart | None  # how a frame was looked at; None: late, or never


@dataclass(frozen=True, eq=False)
class FrameBank:
    """What every image costs and gives at every operating point.

    N is the number of images, P that of points, Q that of points in part.
    """

    points: tuple[OperatingPoint, ...]
    payload: NDArray[np.int64]  # (N, P) bytes; 0 for LOCAL
    matches: Matches  # of N * (P + Q + 1) images: of each its points in order, those in part, then unseen
    parts: tuple[InPart, ...] = ()
    layers: Mapping[OperatingPoint, NDArray[np.int64]] = field(default_factory=dict)  # (N, layers) bytes of each

    @property
    def images(self) -> int:
        """The number of images."""
        return len(self.payload)

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        """Return the size of a frame; positions beyond the last image start over."""
        return int(self.payload[position % self.images, self._column(point)])

    def layer_bytes(self, position: int, point: OperatingPoint) -> tuple[int, ...]:
        """Return the sizes of a frame's layers; of an operating point that has none, the whole."""
        if point not in self.layers:
            return (self.payload_bytes(position, point),)
        return tuple(self.layers[point][position % self.images].tolist())

    def effective_ap(self, outcomes: Sequence[tuple[int, Seen]]) -> Accuracy:
        """Return the accuracy of frames given as (position, how they were looked at)."""
        precision = self.precision(outcomes)
        return Accuracy(round(float(precision.mean()), 2), round(float(precision[0]), 2))

    def precision(self, outcomes: Sequence[tuple[int, Seen]]) -> Floats:
        """Return the average precision of such frames in percent at each threshold (THRESHOLDS,)."""
        seen = np.zeros((self.images, len(self._columns)))
        for (position, point), count in Counter(outcomes).items():
            seen[position % self.images, self._column(point)] += count
        (precision,) = self.matches.average_precision(seen.reshape(1, -1))
        return np.asarray(precision)

    @cached_property
    def _columns(self) -> dict[Seen, int]:
        return {seen: column for column, seen in enumerate((*self.points, *self.parts, None))}

    def _column(self, point: Seen) -> int:
        try:
            return self._columns[point]
        except KeyError:
            raise ConfigError(f"the frame bank lacks {point}: name it among the --policies") from None

    def save(self, path: Path) -> None:
        """Write the bank to a file (.npz), whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        classes = self.matches.classes
        parts = [(str(part.point), part.used) for part in self.parts]
        names = json.dumps({"version": FORMAT_VERSION, "points": [str(p) for p in self.points], "parts": parts})
        arrays: dict[str, Any] = {
            "names": np.array(names),
            "payload": self.payload,
            "layers": np.array(list(self.layers.values())),
            "counts": np.array([len(one.images) for one in classes]),
            "objects": np.stack([one.objects for one in classes]),
            **{name: np.concatenate([getattr(one, name) for one in classes], axis=-1) for name in DETECTIONS},
        }
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        write_atomically(path, content.getbuffer())


def load_bank(path: Path) -> FrameBank:
    """Read what `FrameBank.save` has written. Raises ConfigError if it is something else."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names, payload, objects = json.loads(str(stored["names"])), stored["payload"], stored["objects"]
            layers = stored["layers"]
            ends = np.cumsum(stored["counts"])[:-1]
            detections = [np.split(stored[name], ends, axis=-1) for name in DETECTIONS]
        if names["version"] != FORMAT_VERSION:
            raise ValueError(f"version {names['version']}")
        points = tuple(LOCAL if name == str(LOCAL) else parse_point(name) for name in names["points"])
        parts = tuple(InPart(parse_point(name), int(used)) for name, used in names["parts"])
        classes = tuple(ClassMatches(*fields) for fields in zip(*detections, objects, strict=True))
    except (OSError, EOFError, BadZipFile, ValueError, KeyError) as error:
        raise ConfigError(f"{path} is not a frame bank ({error}); delete it to make it anew") from error
    layered = dict(zip(dict.fromkeys(part.point for part in parts), layers, strict=True))
    return FrameBank(points, payload, Matches(objects.shape[1], classes), parts, layered)


def assemble(
    points: Sequence[OperatingPoint],
    payload: NDArray[np.int64],
    evaluated: Sequence[Sequence[Evaluated]],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
    parts: Sequence[InPart] = (),
    layers: Mapping[OperatingPoint, NDArray[np.int64]] | None = None,
) -> FrameBank:
    """Return the bank of points.

    payload: (N, P) bytes. evaluated: for each point, and then for each part, what pycocotools has noted of its
    detections, for one range of areas. image_ids: of the N images. layers: (N, layers) bytes of the points in parts.
    """
    columns = len(points) + len(parts) + 1
    row = {image_id: index * columns for index, image_id in enumerate(image_ids)}
    seen = [{**o, "image_id": row[o["image_id"]] + i} for i, every in enumerate(evaluated) for o in every]
    unseen = [{**o, "image_id": row[o["image_id"]] + columns - 1, **_NOTHING} for o in evaluated[0]]
    matches = matches_from_coco([*seen, *unseen], range(len(image_ids) * columns), category_ids)
    return FrameBank(tuple(points), payload, matches, tuple(parts), layers or {})


_NOTHING = {"dtScores": [], "dtMatches": np.zeros((THRESHOLDS, 0)), "dtIgnore": np.zeros((THRESHOLDS, 0))}
