"""Principal components of a detector's features (Pearson 1901), and the linear codec that they make.

How compressible a network is at a cut, seen by principal components: "Compressing Representations for Embedded Deep
Learning" (docs/split-points.md). Channels are rotated onto their components; then each component's neighbouring
positions, which are alike, go through an orthonormal cosine transform (Ahmed et al. 1974) in patches. Both together are
one convolution, and its transpose is the way back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.letterbox import PADDING_VALUE, Letterbox
from splitnet.nn.detector import IMAGE, Node
from splitnet.nn.encoder.projection import BackProjection, Patch, Projection
from splitnet.nn.graph import needed_after
from training.data.images import read_image

Floats = NDArray[np.float64]
GREY_SIDE = 416  # pixels of grey whose middle shows what grey looks like to a stage, away from all borders


@dataclass(eq=False)
class Moments:
    """Mean and covariance of rows that come in batches, in double precision and constant memory.

    Batches are merged pairwise (Chan, Golub and LeVeque 1983), so that a large mean costs no digits.
    """

    channels: int
    count: int = field(default=0, init=False)
    mean: Floats = field(init=False)
    scatter: Floats = field(init=False)  # (C, C) sum of the outer products of deviations

    def __post_init__(self) -> None:
        """Begin with no rows."""
        self.mean, self.scatter = np.zeros(self.channels), np.zeros((self.channels, self.channels))

    def add(self, rows: NDArray[np.float32]) -> None:
        """Take rows (n, C) in."""
        if not len(rows):
            return
        own = rows.astype(np.float64)
        mean = own.mean(axis=0)
        own -= mean
        apart, total = mean - self.mean, self.count + len(own)
        self.scatter += own.T @ own + np.outer(apart, apart) * (self.count * len(own) / total)
        self.mean = self.mean + apart * (len(own) / total)
        self.count = total

    @property
    def covariance(self) -> Floats:
        """Covariance (C, C) of the rows so far."""
        return self.scatter / max(self.count, 1)


@dataclass(frozen=True, eq=False)
class Basis:
    """Principal components of one tensor's channels."""

    mean: Floats  # (C,)
    grey: Floats  # (C,) the features of what is nothing but the square's grey
    variances: Floats  # (C,) along the components, falling
    components: Floats  # (C, C) a component a row

    @classmethod
    def of(cls, moments: Moments, grey: Floats) -> Basis:
        """Return the components of what has been gathered, the strongest first."""
        variances, vectors = np.linalg.eigh(moments.covariance)
        return cls(moments.mean, grey, variances[::-1].clip(min=0.0), np.ascontiguousarray(vectors.T[::-1]))

    @property
    def channels(self) -> int:
        """Channels of the tensor."""
        return len(self.mean)

    @property
    def deviation(self) -> float:
        """Standard deviation of a channel, root mean square over channels; 1 for features that never change."""
        return float(np.sqrt(self.variances.mean())) or 1.0

    def energy(self, count: int) -> float:
        """Return the share of the variance that the leading components hold, 0..1."""
        total = float(self.variances.sum())
        return float(self.variances[:count].sum()) / total if total else 1.0

    def components_for(self, energy: float) -> int:
        """Return how many leading components hold at least this share of the variance, from 1 on."""
        if energy >= 1.0 or not self.variances.any():
            return self.channels
        shares = np.cumsum(self.variances) / self.variances.sum()
        return int(np.searchsorted(shares, energy)) + 1


def cosine_transform(size: int) -> Floats:
    """Return the orthonormal DCT-II (size, size), a frequency a row."""
    angles = np.pi * np.arange(size)[:, None] * (2 * np.arange(size) + 1) / (2 * size)
    matrix: Floats = np.cos(angles) * np.sqrt(2 / size)
    matrix[0] /= np.sqrt(2)
    return matrix


def patches_of(bases: Mapping[str, Basis], components: Mapping[str, int], sides: Mapping[str, int]) -> dict[str, Patch]:
    """Return how tensors lie in a latent with so many of their components; ConfigError if they have fewer."""
    for name, basis in bases.items():
        if not 1 <= components[name] <= basis.channels:
            raise ConfigError(f"{name} has {basis.channels} components, not {components[name]}")
    return {name: Patch(basis.channels, components[name], sides[name]) for name, basis in bases.items()}


@torch.no_grad()
def fill_projection(projection: Projection, bases: Mapping[str, Basis], patches: Mapping[str, Patch]) -> None:
    """Give a projection its weights: mean features become zero, beside the 1 that says that they are there."""
    for name, conv in projection.convs.items():
        basis, patch = bases[name], patches[name]
        kept = basis.components[: patch.components]
        bias = np.zeros((patch.components, patch.side**2))
        bias[:, 0] = -patch.side * (kept @ basis.mean)  # only the lowest frequency sees a constant
        absent = np.zeros((1, patch.channels, patch.side, patch.side))
        _set(conv, np.concatenate([kernel_of(kept, patch.side), absent]), np.append(bias, 1.0))


@torch.no_grad()
def fill_back_projection(back: BackProjection, bases: Mapping[str, Basis], patches: Mapping[str, Patch]) -> None:
    """Give a back-projection its weights. Components not kept are at their mean; where nothing was sent is grey."""
    for name, conv in back.convs.items():
        basis, patch = bases[name], patches[name]
        kept = basis.components[: patch.components]
        present = np.broadcast_to((basis.mean - basis.grey)[:, None, None], (patch.channels, patch.side, patch.side))
        _set(conv, np.concatenate([kernel_of(kept, patch.side), present[None]]), basis.grey)


def kernel_of(kept: Floats, side: int) -> Floats:
    """Return rotation and cosine transform as a kernel (components * side^2, C, side, side)."""
    cosines = cosine_transform(side)
    kernel: Floats = np.einsum("rc,ui,vj->ruvcij", kept, cosines, cosines)
    return kernel.reshape(-1, kept.shape[1], side, side)


def _set(conv: nn.Module, weight: Floats, bias: Floats) -> None:
    conv.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(np.ascontiguousarray(bias))})


def spread(images: Sequence[Path], count: int) -> list[Path]:
    """Return at most `count` of the images, evenly spread over them."""
    return list(images[:: max(1, -(-len(images) // count))])


def canvas_of(frame: NDArray[np.uint8], input_size: int, stride: int) -> Tensor:
    """Return a BGR frame (H, W, 3) as a device would encode it, sides multiples of a stride: (1, 3, h, w) float32."""
    canvas = Letterbox.fit(frame.shape[1], frame.shape[0], input_size).apply(frame)
    height, width = (-(-side // stride) * stride for side in canvas.shape[:2])
    image = torch.full((1, 3, height, width), float(PADDING_VALUE))
    image[0, :, : canvas.shape[0], : canvas.shape[1]] = torch.from_numpy(canvas).permute(2, 0, 1)
    return image


def canvases(images: Sequence[Path], input_size: int, stride: int, task: str) -> Iterator[Tensor]:
    """Yield the readable images as `canvas_of`, with progress; ConfigError at the end if there were none."""
    count = 0
    for path in progress(images, unit="image", desc=task):
        frame = read_image(path)
        if frame is not None:
            count += 1
            yield canvas_of(frame, input_size, stride)
    if not count:
        raise ConfigError(f"none of {len(images)} images can be read: {task} needs some")


@torch.inference_mode()
def bases_of(
    nodes: Sequence[Node], cuts: Sequence[str], images: Sequence[Path], input_size: int, stride: int
) -> dict[str, Basis]:
    """Return the components of every tensor that is needed behind one of the cuts, by name.

    nodes: of a whole detector. Images are letterboxed as frames are, onto canvases of whole strides.
    """
    names = dict.fromkeys(name for cut in cuts for name in needed_after(nodes, cut))
    middles = grey_features(nodes, list(names))
    moments = {name: Moments(len(middle)) for name, middle in middles.items()}
    for image in canvases(images, input_size, stride, "principal components"):
        for name, tensor in named_features(nodes, list(names), image).items():
            moments[name].add(tensor[0].flatten(1).T.numpy())
    return {name: Basis.of(moments[name], middles[name]) for name in names}


@torch.inference_mode()
def grey_features(nodes: Sequence[Node], names: Sequence[str]) -> dict[str, Floats]:
    """Return what the named tensors say (C,) of the square's grey, away from all borders."""
    greys = named_features(nodes, names, torch.full((1, 3, GREY_SIDE, GREY_SIDE), float(PADDING_VALUE)))
    return {name: _middle(tensor) for name, tensor in greys.items()}


def named_features(nodes: Sequence[Node], names: Sequence[str], image: Tensor) -> dict[str, Tensor]:
    """Return the named tensors of one image, each computed once."""
    computed = {IMAGE: image}
    left = set(names)
    for node in nodes:
        if not left:
            break
        computed[node.name] = node.run(*(computed[name] for name in node.inputs))
        left.discard(node.name)
    return {name: computed[name] for name in names}


def _middle(tensor: Tensor) -> Floats:
    height, width = tensor.shape[2:]
    middle: Floats = tensor[0, :, height // 2, width // 2].numpy().astype(np.float64)
    return middle
