"""Several bundles on one stream: each frame is decoded once, and what detectors share is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.codec.references import ReferenceStore
from splitnet.detections import Detections
from splitnet.errors import BitstreamError
from splitnet.messages import BundleDescription, Frame, FurtherBundle
from splitnet.nn.detector import IMAGE, RAW
from splitnet.nn.graph import nodes_of
from splitnet.nn.merged import Merged
from splitnet.operating_point import Mode

Canvases = dict[int, DecodedFrame]  # of one frame, by the side of the square that it is fitted into


@dataclass(frozen=True)
class _Group:
    """A donor and those recipients whose images it sees as they do; alone if there are none."""

    donor: BundleModel
    recipients: tuple[BundleModel, ...] = ()


class TaskModel:
    """The first bundle of a session and its further ones, as the engine's model. It has no weights of its own."""

    each_size_differs = False

    def __init__(self, models: Sequence[BundleModel]) -> None:
        """Take the models of the bundles, prepared; features of the first are what devices send."""
        self._models = tuple(models)
        self._first = models[0]

    @property
    def name(self) -> str:
        """The first bundle's name."""
        return self._first.name

    @property
    def digest(self) -> str:
        """The first bundle's digest."""
        return self._first.digest

    @property
    def description(self) -> BundleDescription:
        """What a client must know of the first bundle."""
        return self._first.description

    @property
    def further(self) -> tuple[FurtherBundle, ...]:
        """What a client must know of the others."""
        others = self._models[1:]
        return tuple(FurtherBundle(m.name, m.device_digest, m.description, self.takes_features(m)) for m in others)

    @property
    def plan(self) -> str:
        """The digest of the plan that the first bundle is computed by."""
        return self._first.plan

    @property
    def memory_bytes(self) -> int:
        """Nothing: all weights are those of the bundles."""
        return 0

    @property
    def device_digest(self) -> str:
        """The digest that devices of the first bundle name."""
        return self._first.device_digest

    @property
    def computed_as(self) -> str:
        """What all of them are computed as."""
        return " ".join(model.computed_as for model in self._models)

    @property
    def modes(self) -> Sequence[Mode]:
        """The modes of the first bundle."""
        return self._first.modes

    def prepare(self) -> None:
        """Do nothing: the models are prepared."""

    def blank(self, mode: Mode) -> Canvases:
        """Return a frame that shows nothing."""
        return {self._first.bundle.manifest.input_size: self._first.blank(mode)}

    def takes_features(self, model: BundleModel) -> bool:
        """Return whether features of the first bundle answer another one, too."""
        return model is self._first or reads_features(self._first, model)

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> Canvases:
        """Undo the coding once for each size of square. BitstreamError if one of the bundles cannot be answered."""
        if frame.operating_point.mode is Mode.SPLIT:
            self._check_features()
        sizes = {model.bundle.manifest.input_size: model for model in reversed(self._models)}
        if len(sizes) > 1 and not frame.whole_image:
            raise BitstreamError("these bundles see squares of different sizes: send images with whole_image")
        return {size: model.decode(frame, references) for size, model in sizes.items()}

    def _check_features(self) -> None:
        for model in self._models:
            if not self.takes_features(model):
                raise BitstreamError(
                    f"features of {self._first.name} do not answer {model.name} under this server's plan: send images, "
                    f"or open a session of its own for {model.name}"
                )

    @torch.inference_mode()
    def infer(self, mode: Mode, batch: Sequence[Canvases]) -> list[tuple[Detections, ...]]:
        """Return what each bundle finds in each frame, in the order of the bundles."""
        found: dict[str, list[Detections]] = {}
        for group in _groups(self._models, mode):
            size = group.donor.bundle.manifest.input_size
            found |= _infer(group, mode, [canvases[size] for canvases in batch])
        return list(zip(*(found[model.digest] for model in self._models), strict=True))


def reads_features(donor: BundleModel, recipient: BundleModel) -> bool:
    """Return whether a recipient's joints read only what lies behind a donor's split point."""
    merged = merged_with(donor, recipient)
    if merged is None or merged.spec.own_tensors or donor.bundle.detector is None:
        return False
    names = [node.name for node in nodes_of(donor.bundle.detector)]
    behind = names[names.index(donor.bundle.manifest.split_point) :]
    return set(merged.spec.donor_tensors) <= set(behind)


def merged_with(donor: BundleModel, recipient: BundleModel) -> Merged | None:
    """Return a recipient's merged detector if this is its donor, and both are computed for one image at once."""
    detector, planned = recipient.bundle.detector, recipient.merge
    if planned is None or planned.donor != donor.digest or not planned.spec.is_prefix:
        return None
    return detector if isinstance(detector, Merged) else None


def _groups(models: Sequence[BundleModel], mode: Mode) -> list[_Group]:
    """Return what is computed together. Recipients that see images in another way than the first are left alone."""
    taken: set[str] = set()
    groups: list[_Group] = []
    for donor in models:
        own = [one for one in models if merged_with(donor, one) is not None]
        own = [one for one in own if mode is Mode.SPLIT or one.fills == own[0].fills]
        if own:
            groups.append(_Group(donor, tuple(own)))
            taken |= {donor.digest, *(one.digest for one in own)}
    return groups + [_Group(one) for one in models if one.digest not in taken]


def _infer(group: _Group, mode: Mode, batch: Sequence[DecodedFrame]) -> dict[str, list[Detections]]:
    donor = group.donor
    if not group.recipients:
        return {donor.digest: donor.infer(mode, batch)}
    known = _of_features(donor, batch) if mode is Mode.SPLIT else _of_images(group, batch)
    fills = mode is Mode.IMAGE and group.recipients[0].fills
    found = {donor.digest: donor.read(known[RAW].float(), batch, fills)}
    for one in group.recipients:
        merged = one.bundle.detector
        assert isinstance(merged, Merged)
        found[one.digest] = one.read(merged.from_features(known).float(), batch, fills)
    return found


def _of_images(group: _Group, batch: Sequence[DecodedFrame]) -> dict[str, Tensor]:
    """Return all that the donor computes of images, seen as its recipients see them."""
    detector = group.donor.bundle.detector
    assert detector is not None
    image = group.recipients[0].input_of(Mode.IMAGE, batch)
    return {IMAGE: image, **detector.trace({IMAGE: image})}


def _of_features(donor: BundleModel, batch: Sequence[DecodedFrame]) -> dict[str, Tensor]:
    """Return all that the donor computes of features, from the split point on."""
    half = donor.bundle.half
    features = half.decoder(donor.input_of(Mode.SPLIT, batch))
    return {**features, **half.detector.trace(features)}
