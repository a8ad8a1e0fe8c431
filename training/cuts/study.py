"""A study of cuts: what each costs a device, how compressible it is, and what it gives for its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.manifest import Accuracy
from splitnet.nn.architectures import STRIDES, architecture_of
from splitnet.nn.detector import Detector, Node
from splitnet.nn.graph import needed_after, nodes_of, run_front, run_rest
from splitnet.nn.macs import count_macs
from training.cuts.component_codec import CutCodec, ranks_of
from training.cuts.components import Basis, bases_of, canvas_of, canvases
from training.cuts.figures import CutPoint, CutStudy, TensorStudy
from training.data.images import read_image
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import SCORE_THRESHOLD, unsplit_detections

SHOWN_ENERGIES = (0.90, 0.95, 0.99)
LARGEST_STRIDE = 32


@dataclass(frozen=True)
class StudyConfig:
    """What is measured at each cut."""

    input_size: int
    cuts: tuple[str, ...] = ()  # none: all that the detector has
    energies: tuple[float, ...] = (0.90, 0.99, 0.999)  # a rank for each: the fewest components that hold so much
    steps: tuple[float, ...] = (8.0, 5.0, 3.2, 2.0, 1.25)  # in standard deviations of a tensor's channels


def study_cuts(
    detector: Detector,
    labelled: LabelledSet,
    images: Sequence[Path],
    config: StudyConfig,
    known: Sequence[CutStudy] = (),
) -> Iterator[CutStudy]:
    """Yield the study of each cut as it is finished, those already known first; one thread is enough.

    labelled: images on which accuracy and bytes are measured. images: those that components and entropy tables
    are fitted on, letterboxed as frames are. ConfigError on an unknown cut or if no image can be read.
    """
    nodes, architecture = nodes_of(detector), architecture_of(detector.name)
    yield from known
    wanted = config.cuts or architecture.cuts
    cuts = [cut for cut in wanted if cut not in {one.cut for one in known}]
    if not cuts:
        return
    bases = bases_of(nodes, cuts, images, config.input_size, LARGEST_STRIDE)

    def find(raw: Tensor) -> list[Detections]:
        return architecture.detections(raw, config.input_size, SCORE_THRESHOLD)

    for cut in cuts:
        codec = _codec(nodes, cut, bases, images, config, architecture.floor)
        points = _points(nodes, cut, codec, labelled, config.input_size, find)
        before, after = mmacs_of(detector, cut, config.input_size)
        tensors = tuple(_tensor(name, bases[name], config.input_size) for name in needed_after(nodes, cut))
        yield CutStudy(cut, before, after, tensors, tuple(points))


def _codec(
    nodes: Sequence[Node],
    cut: str,
    bases: Mapping[str, Basis],
    images: Sequence[Path],
    config: StudyConfig,
    floor: float,
) -> CutCodec:
    """Return the codec of a cut, its tables fitted."""
    needed = needed_after(nodes, cut)
    stride = latent_stride(needed)
    own, sides = {name: bases[name] for name in needed}, {name: stride // STRIDES[name] for name in needed}
    codec = CutCodec(own, sides, ranks_of(own, config.energies), config.steps, floor)

    def features() -> Iterator[Mapping[str, Tensor]]:
        for image in canvases(images, config.input_size, LARGEST_STRIDE, f"{cut}: entropy tables"):
            yield run_front(nodes, cut, image)

    codec.fit(features, (config.input_size // stride,) * 2)
    return codec


def _points(
    nodes: Sequence[Node],
    cut: str,
    codec: CutCodec,
    labelled: LabelledSet,
    input_size: int,
    find: Callable[[Tensor], list[Detections]],
) -> list[CutPoint]:
    """Send every labelled image through each rank and step of a cut."""
    stride = latent_stride(needed_after(nodes, cut))
    size, cells = input_size, input_size // stride
    places = [(rank, step) for rank in range(len(codec.ranks)) for step in range(len(codec.steps))]
    found: list[list[Detections]] = [[] for _ in places]
    sizes: list[list[int]] = [[] for _ in places]

    def server(features: Mapping[str, Tensor]) -> list[Detections]:
        return find(run_rest(nodes, cut, features))

    for image in progress(labelled.images, unit="image", desc=f"{cut}: accuracy and bytes"):
        frame = _read(image.path)
        with torch.inference_mode():
            symbols = codec.symbols(run_front(nodes, cut, canvas_of(frame, size, stride)))
        box = Letterbox.fit(frame.shape[1], frame.shape[0], size)
        for rank, at_rank in groupby(range(len(places)), key=lambda i: places[i][0]):
            payloads = [(i, codec.compress(symbols, rank, places[i][1])) for i in at_rank]
            decoded = [codec.decompress(payload, rank, cells) for _, payload in payloads]
            for (i, payload), one in zip(payloads, _detect(decoded, server, box), strict=True):
                sizes[i].append(len(payload))
                found[i].append(one)
    rows = zip(places, found, sizes, strict=True)
    return [_point(codec, place, labelled.accuracy(one), payloads) for place, one, payloads in rows]


@torch.inference_mode()
def _detect(
    features: Sequence[Mapping[str, Tensor]],
    server: Callable[[Mapping[str, Tensor]], list[Detections]],
    box: Letterbox,
) -> list[Detections]:
    """Return what is found in versions of one frame, which go through the rest of the detector together."""
    batch = {name: torch.cat([one[name] for one in features]) for name in features[0]}
    return [Detections(box.boxes_to_frame(one.boxes), one.scores, one.labels) for one in server(batch)]


def _point(codec: CutCodec, place: tuple[int, int], accuracy: Accuracy, payloads: Sequence[int]) -> CutPoint:
    rank = codec.ranks[place[0]]
    return CutPoint(
        energy=rank.energy,
        components=dict(rank.components),
        step=codec.steps[place[1]],
        ap=accuracy.ap,
        ap50=accuracy.ap50,
        bytes_mean=round(float(np.mean(payloads)), 1),
        bytes_p90=round(float(np.percentile(payloads, 90)), 1),
    )


def _tensor(name: str, basis: Basis, input_size: int) -> TensorStudy:
    side = input_size // STRIDES[name]
    components = {f"{100 * energy:.0f}": basis.components_for(energy) for energy in SHOWN_ENERGIES}
    total = float(basis.variances.sum()) or 1.0
    spectrum = tuple(round(float(variance) / total, 6) for variance in basis.variances)
    return TensorStudy(name, (basis.channels, side, side), components, spectrum)


def _read(path: Path) -> Any:
    frame = read_image(path)
    if frame is None:
        raise ConfigError(f"{path} is not a readable image")
    return frame


def latent_stride(names: Iterable[str]) -> int:
    """Return the pixels a side of a position of a latent that holds these tensors: a bundle's, or the coarsest's."""
    return max(LATENT_STRIDE, *(STRIDES[name] for name in names))


def mmacs_of(detector: Detector, cut: str, input_size: int) -> tuple[float, float]:
    """Return the millions of multiply-accumulates before a cut, for a 4:3 frame, and behind it, for a square."""
    nodes = nodes_of(detector)
    usual = Letterbox.fit(640, 480, input_size)
    canvas = [-(-side // LARGEST_STRIDE) * LARGEST_STRIDE for side in (usual.canvas_height, usual.canvas_width)]
    square = run_front(nodes, cut, torch.zeros(1, 3, input_size, input_size))
    before = count_macs(detector, lambda: run_front(nodes, cut, torch.zeros(1, 3, *canvas)))
    after = count_macs(detector, lambda: run_rest(nodes, cut, square))
    return round(before / 1e6, 2), round(after / 1e6, 2)


def unsplit_accuracy(detector: Detector, labelled: LabelledSet, input_size: int) -> Accuracy:
    """Return the accuracy of the whole detector on the uncompressed images."""
    images = progress(labelled.images, unit="image", desc="unsplit")
    return labelled.accuracy([unsplit_detections(detector, image.path, input_size) for image in images])
