"""The names and shapes of the public NanoDet-Plus checkpoints, from a description of their sizes alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
Entry = tuple[str, Shape]
BOX_OUTPUTS = 32  # four sides of eight bins


@dataclass(frozen=True)
class Sizes:
    """What tells the members apart."""

    stages: tuple[int, int, int]
    channels: int


MEMBERS: Mapping[str, Sizes] = {
    "nanodet-plus-m": Sizes((116, 232, 464), 96),
    "nanodet-plus-m-1.5x": Sizes((176, 352, 704), 128),
}


def entries(name: str, classes: int = 80) -> list[Entry]:
    """Return every entry of a public checkpoint that the detector itself needs."""
    sizes = MEMBERS[name]
    return [*_backbone(sizes), *_pyramid("fpn", sizes), *_head(sizes.channels, classes)]


def auxiliary_entries(name: str, classes: int = 80) -> list[Entry]:
    """Return every entry of a public checkpoint that is there for training only."""
    sizes = MEMBERS[name]
    return [*_pyramid("aux_fpn", sizes), *_large_head(2 * sizes.channels, classes)]


def _norm(name: str, channels: int) -> Iterator[Entry]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (channels,)
    yield f"{name}.num_batches_tracked", ()


def _pointwise(conv: str, norm: str, inputs: int, out: int) -> Iterator[Entry]:
    yield f"{conv}.weight", (out, inputs, 1, 1)
    yield from _norm(norm, out)


def _depthwise(conv: str, norm: str, channels: int, kernel: int) -> Iterator[Entry]:
    yield f"{conv}.weight", (channels, 1, kernel, kernel)
    yield from _norm(norm, channels)


def _backbone(sizes: Sizes) -> Iterator[Entry]:
    yield "backbone.conv1.0.weight", (24, 3, 3, 3)
    yield from _norm("backbone.conv1.1", 24)
    before = 24
    for number, channels, count in zip((2, 3, 4), sizes.stages, (4, 8, 4), strict=True):
        for i in range(count):
            yield from _block(f"backbone.stage{number}.{i}", before if i == 0 else None, channels // 2)
        before = channels


def _block(name: str, inputs: int | None, half: int) -> Iterator[Entry]:
    """Yield a block's entries; inputs: of one with a stride, which convolves them twice."""
    if inputs is not None:
        yield from _depthwise(f"{name}.branch1.0", f"{name}.branch1.1", inputs, 3)
        yield from _pointwise(f"{name}.branch1.2", f"{name}.branch1.3", inputs, half)
    yield from _pointwise(f"{name}.branch2.0", f"{name}.branch2.1", inputs or half, half)
    yield from _depthwise(f"{name}.branch2.3", f"{name}.branch2.4", half, 3)
    yield from _pointwise(f"{name}.branch2.5", f"{name}.branch2.6", half, half)


def _pyramid(name: str, sizes: Sizes) -> Iterator[Entry]:
    channels = sizes.channels
    for i, inputs in enumerate(sizes.stages):
        yield from _pointwise(f"{name}.reduce_layers.{i}.conv", f"{name}.reduce_layers.{i}.bn", inputs, channels)
    for i in range(2):
        yield from _ghost(f"{name}.top_down_blocks.{i}.blocks.0", channels)
        yield from _ghost(f"{name}.bottom_up_blocks.{i}.blocks.0", channels)
        yield from _separable(f"{name}.downsamples.{i}", channels)
    yield from _separable(f"{name}.extra_lvl_in_conv.0", channels)
    yield from _separable(f"{name}.extra_lvl_out_conv.0", channels)


def _ghost(name: str, channels: int) -> Iterator[Entry]:
    for module, inputs in (("ghost1", 2 * channels), ("ghost2", channels)):
        primary, cheap = f"{name}.{module}.primary_conv", f"{name}.{module}.cheap_operation"
        yield from _pointwise(f"{primary}.0", f"{primary}.1", inputs, channels // 2)
        yield from _depthwise(f"{cheap}.0", f"{cheap}.1", channels // 2, 3)
    yield from _depthwise(f"{name}.shortcut.0", f"{name}.shortcut.1", 2 * channels, 5)
    yield from _pointwise(f"{name}.shortcut.2", f"{name}.shortcut.3", 2 * channels, channels)


def _separable(name: str, channels: int) -> Iterator[Entry]:
    yield from _depthwise(f"{name}.depthwise", f"{name}.dwnorm", channels, 5)
    yield from _pointwise(f"{name}.pointwise", f"{name}.pwnorm", channels, channels)


def _head(channels: int, classes: int) -> Iterator[Entry]:
    for level in range(4):
        for layer in range(2):
            yield from _separable(f"head.cls_convs.{level}.{layer}", channels)
        yield f"head.gfl_cls.{level}.weight", (classes + BOX_OUTPUTS, channels, 1, 1)
        yield f"head.gfl_cls.{level}.bias", (classes + BOX_OUTPUTS,)


def _large_head(channels: int, classes: int) -> Iterator[Entry]:
    for tower in ("cls_convs", "reg_convs"):
        for layer in range(4):
            yield f"aux_head.{tower}.{layer}.conv.weight", (channels, channels, 3, 3)
            yield f"aux_head.{tower}.{layer}.gn.weight", (channels,)
            yield f"aux_head.{tower}.{layer}.gn.bias", (channels,)
    for layer, out in (("gfl_cls", classes), ("gfl_reg", BOX_OUTPUTS)):
        yield f"aux_head.{layer}.weight", (out, channels, 3, 3)
        yield f"aux_head.{layer}.bias", (out,)
    for level in range(4):
        yield f"aux_head.scales.{level}.scale", ()
