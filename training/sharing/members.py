"""The detectors of bundles as sharing sees them: nodes, the shapes of what they give, and what each node weighs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from splitnet.bundle import load_detector
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import IMAGE, Detector, Node
from splitnet.nn.graph import nodes_of
from splitnet.nn.split_detector import image_input
from training.data.images import read_image


@dataclass(frozen=True)
class Shape:
    """Of a tensor: channels, and pixels of the image per position."""

    channels: int
    stride: int


@dataclass(frozen=True, eq=False)
class Member:
    """One bundle's unsplit detector."""

    folder: Path
    manifest: Manifest
    detector: Detector
    called: str = ""  # if not as the bundle

    @classmethod
    def load(cls, folder: Path) -> Member:
        """Load a bundle's unsplit detector; BundleError as `load_detector`, ConfigError if it has none."""
        manifest = load_manifest(folder)
        detector = load_detector(folder, manifest)
        if detector is None:
            raise ConfigError(f"{folder} was made without its unsplit detector: there is nothing to share")
        return cls(folder, manifest, detector)

    def fresh(self) -> Detector:
        """Return the detector once more: merging takes it apart."""
        detector = load_detector(self.folder, self.manifest)
        assert detector is not None
        return detector

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.called or self.manifest.name

    @property
    def fills(self) -> bool:
        """Whether it sees images stretched to its square."""
        return architecture_of(self.detector.name).fills

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """The detector's nodes."""
        return nodes_of(self.detector)

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of what each node but the last gives."""
        side = 2 * architecture_of(self.detector.name).coarsest
        with torch.inference_mode():
            known = {IMAGE: torch.zeros(1, 3, side, side)}
            for node in self.nodes[:-1]:
                known[node.name] = node.run(*(known[name] for name in node.inputs))
        return {name: Shape(x.shape[1], side // x.shape[2]) for name, x in known.items() if name != IMAGE}

    @cached_property
    def parameters(self) -> Mapping[str, int]:
        """Number of weights of each node."""
        return {name: sum(x.numel() for x in layers) for name, layers in self._layers.items()}

    @cached_property
    def _layers(self) -> Mapping[str, Sequence[Tensor]]:
        return _tensors_by_node(self)

    def tensors(self, names: Sequence[str] = ()) -> list[Tensor]:
        """Return the parameters of some nodes, of all if none is named, in order."""
        return [x for name, layers in self._layers.items() if not names or name in names for x in layers]

    @property
    def total_parameters(self) -> int:
        """Number of weights of the whole detector."""
        return sum(x.numel() for x in self.detector.parameters())

    def depth(self, name: str) -> int:
        """Return the place of a node, from 1 on."""
        return 1 + [node.name for node in self.nodes].index(name)


def _tensors_by_node(member: Member) -> dict[str, list[Tensor]]:
    """Return the parameters of the layers that each node runs, by a look at a blank image."""
    current: list[Tensor] = []

    def note(layer: nn.Module, *_: object) -> None:
        current.extend(layer.parameters(recurse=False))

    hooks = [layer.register_forward_hook(note) for layer in member.detector.modules()]
    side = 2 * architecture_of(member.detector.name).coarsest
    known, found = {IMAGE: torch.zeros(1, 3, side, side)}, {}
    with torch.inference_mode():
        for node in member.nodes:
            current.clear()
            known[node.name] = node.run(*(known[name] for name in node.inputs))
            found[node.name] = list({id(x): x for x in current}.values())
    for hook in hooks:
        hook.remove()
    return found


def check_same_square(members: Sequence[Member]) -> int:
    """Return the side of the square of all members; ConfigError if they differ, or there is one of them only."""
    if len(members) < 2:
        raise ConfigError("sharing needs two bundles or more: give them after --bundles")
    sizes = {member.name: member.manifest.input_size for member in members}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ConfigError(f"bundles that share see the same square, these differ ({said}): train them at one size")
    digests = [member.manifest.digest for member in members]
    if len(set(digests)) < len(digests):
        raise ConfigError("the same bundle is given twice: identical tensors are held once without a plan")
    return sizes[members[0].name]


def squares(images: Sequence[Path], input_size: int, fills: bool, task: str) -> Iterator[Tensor]:
    """Yield the readable images as a detector sees them, (1, 3, S, S) float32, with progress."""
    for path in progress(images, unit="image", desc=task):
        frame = read_image(path)
        if frame is not None:
            yield square_of(frame, input_size, fills)[0]


def square_of(frame: Tensor | object, input_size: int, fills: bool) -> tuple[Tensor, Letterbox]:
    """Return a BGR frame (H, W, 3) as a detector sees it, and where it lies there."""
    height, width = frame.shape[:2]  # type: ignore[union-attr]
    box = Letterbox.fit(width, height, input_size)
    return image_input(box.apply(frame), input_size, fills)[None], box  # type: ignore[arg-type]
