"""The names and shapes of the public EfficientDet checkpoints, from a description of their sizes alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

Shape = tuple[int, ...]
Entry = tuple[str, Shape]
LEVELS = 5
# Which tensors the eight nodes of a cell combine: inputs are 0 to 4, nodes go on from 5.
NODES = ((3, 4), (2, 5), (1, 6), (0, 7), (1, 7, 8), (2, 6, 9), (3, 5, 10), (4, 11))


@dataclass(frozen=True)
class Sizes:
    """What tells the members apart. Blocks are (how many, channels, kernel)."""

    blocks: Sequence[tuple[int, int, int]]
    channels: int  # of the pyramid
    cells: int


B1 = ((2, 16, 3), (3, 24, 3), (3, 40, 5), (4, 80, 3), (4, 112, 5), (5, 192, 5), (2, 320, 3))
B2 = ((2, 16, 3), (3, 24, 3), (3, 48, 5), (4, 88, 3), (4, 120, 5), (5, 208, 5), (2, 352, 3))
MEMBERS: Mapping[str, Sizes] = {
    "efficientdet-d0": Sizes(
        ((1, 16, 3), (2, 24, 3), (2, 40, 5), (3, 80, 3), (3, 112, 5), (4, 192, 5), (1, 320, 3)), 64, 3
    ),
    "efficientdet-d1": Sizes(B1, 88, 4),
    "efficientdet-d2": Sizes(B2, 112, 5),
}
STEM = 32


def entries(name: str, classes: int = 90) -> list[Entry]:
    """Return every entry of a public checkpoint, in its order."""
    sizes = MEMBERS[name]
    heads = [*_head("class_net", sizes.channels, classes), *_head("box_net", sizes.channels, 4)]
    return [*_backbone(sizes), *_pyramid(sizes), *heads]


def digest(found: Sequence[Entry]) -> str:
    """Return SHA-256 (hexadecimal) of a list of names and shapes."""
    return hashlib.sha256("".join(f"{name} {list(shape)}\n" for name, shape in found).encode()).hexdigest()


def _norm(name: str, channels: int) -> Iterator[Entry]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _biased(name: str, out: int, inputs: int) -> Iterator[Entry]:
    yield f"{name}.weight", (out, inputs, 1, 1)
    yield f"{name}.bias", (out,)


def _squeeze(name: str, channels: int, reduced: int) -> Iterator[Entry]:
    yield from _biased(f"{name}.conv_reduce", reduced, channels)
    yield from _biased(f"{name}.conv_expand", channels, reduced)


def _backbone(sizes: Sizes) -> Iterator[Entry]:
    yield "backbone.conv_stem.weight", (STEM, 3, 3, 3)
    yield from _norm("backbone.bn1", STEM)
    before = STEM
    for group, (count, channels, kernel) in enumerate(sizes.blocks):
        for i in range(count):
            name = f"backbone.blocks.{group}.{i}"
            yield from _first_kind(name, before, channels) if group == 0 else _block(name, before, channels, kernel)
            before = channels


def _first_kind(name: str, inputs: int, out: int) -> Iterator[Entry]:
    yield f"{name}.conv_dw.weight", (inputs, 1, 3, 3)
    yield from _norm(f"{name}.bn1", inputs)
    yield from _squeeze(f"{name}.se", inputs, inputs // 4)
    yield f"{name}.conv_pw.weight", (out, inputs, 1, 1)
    yield from _norm(f"{name}.bn2", out)


def _block(name: str, inputs: int, out: int, kernel: int) -> Iterator[Entry]:
    wide = 6 * inputs
    yield f"{name}.conv_pw.weight", (wide, inputs, 1, 1)
    yield from _norm(f"{name}.bn1", wide)
    yield f"{name}.conv_dw.weight", (wide, 1, kernel, kernel)
    yield from _norm(f"{name}.bn2", wide)
    yield from _squeeze(f"{name}.se", wide, inputs // 4)
    yield f"{name}.conv_pwl.weight", (out, wide, 1, 1)
    yield from _norm(f"{name}.bn3", out)


def _pyramid(sizes: Sizes) -> Iterator[Entry]:
    channels = sizes.channels
    stages = [sizes.blocks[group][1] for group in (2, 4, 6)]
    yield from _lateral("fpn.resample.3", stages[-1], channels)
    for cell in range(sizes.cells):
        for node, inputs in enumerate(NODES):
            name = f"fpn.cell.{cell}.fnode.{node}"
            yield f"{name}.combine.edge_weights", (len(inputs),)
            for i in inputs:
                if cell == 0 and i < len(stages):
                    yield from _lateral(f"{name}.combine.resample.{i}", stages[i], channels)
            yield from _separable(f"{name}.after_combine.conv", channels, channels)
            yield from _norm(f"{name}.after_combine.conv.bn", channels)


def _lateral(name: str, inputs: int, out: int) -> Iterator[Entry]:
    yield from _biased(f"{name}.conv.conv", out, inputs)
    yield from _norm(f"{name}.conv.bn", out)


def _separable(name: str, inputs: int, out: int) -> Iterator[Entry]:
    yield f"{name}.conv_dw.weight", (inputs, 1, 3, 3)
    yield from _biased(f"{name}.conv_pw", out, inputs)


def _head(name: str, channels: int, outputs: int) -> Iterator[Entry]:
    for i in range(3):
        yield from _separable(f"{name}.conv_rep.{i}", channels, channels)
    for i in range(3):
        for level in range(LEVELS):
            yield from _norm(f"{name}.bn_rep.{i}.{level}.bn", channels)
    yield from _separable(f"{name}.predict", channels, 9 * outputs)
