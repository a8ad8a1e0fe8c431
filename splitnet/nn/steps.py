"""A detector as named steps, so that it can be cut behind any of them, the neck's included."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.yolox import STAGE_STRIDES, STAGES, YOLOX

# Behind the neck's first step and its second there is more to send than before or behind them.
CUTS = (*STAGES, "p3", "p5")
IMAGE, RAW = "image", "raw"
STRIDES: Mapping[str, int] = {**STAGE_STRIDES, "top": 32, "middle": 16, "p3": 8, "p4": 16, "p5": 32}


@dataclass(frozen=True)
class Step:
    """One tensor of a detector: what it is made from, and how."""

    name: str
    inputs: tuple[str, ...]
    run: Callable[..., Tensor]


def steps_of(detector: YOLOX) -> tuple[Step, ...]:
    """Return the steps of a whole detector, from "image" to "raw", in order of execution.

    "top" and "middle" are what the neck's way down leaves at strides 32 and 16 for its way up.
    """
    neck, backbone = detector.backbone, detector.backbone.backbone
    if backbone.stages != STAGES:
        raise ConfigError("this detector is cut already: give the whole one")

    def merged(layer: str, *inputs: Tensor) -> Tensor:
        x: Tensor = getattr(neck, layer)(torch.cat(inputs, dim=1))
        return x

    def up(x: Tensor) -> Tensor:
        return torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")

    before = (IMAGE, *STAGES)
    return (
        *(Step(stage, (before[i],), getattr(backbone, stage)) for i, stage in enumerate(STAGES)),
        Step("top", ("dark5",), neck.lateral_conv0),
        Step("middle", ("top", "dark4"), lambda top, dark4: neck.reduce_conv1(merged("C3_p4", up(top), dark4))),
        Step("p3", ("middle", "dark3"), lambda middle, dark3: merged("C3_p3", up(middle), dark3)),
        Step("p4", ("p3", "middle"), lambda p3, middle: merged("C3_n3", neck.bu_conv2(p3), middle)),
        Step("p5", ("p4", "top"), lambda p4, top: merged("C3_n4", neck.bu_conv1(p4), top)),
        Step(RAW, ("p3", "p4", "p5"), lambda *pyramid: detector.head(pyramid)),
    )


def needed_after(steps: Sequence[Step], cut: str) -> tuple[str, ...]:
    """Return which tensors must be known to go on behind a cut, in order; ConfigError on an unknown cut."""
    names = [step.name for step in steps[:-1]]
    if cut not in names:
        raise ConfigError(f"unknown cut {cut!r}; choose one of {', '.join(names)}")
    index = names.index(cut) + 1
    read = {name for step in steps[index:] for name in step.inputs}
    return tuple(name for name in names[:index] if name in read)


def run_front(steps: Sequence[Step], cut: str, image: Tensor) -> dict[str, Tensor]:
    """Map pictures (N, 3, H, W) float32 0..255 to what is needed behind a cut, by name."""
    needed = needed_after(steps, cut)
    index = [step.name for step in steps].index(cut) + 1
    computed = _run(steps[:index], {IMAGE: image})
    return {name: computed[name] for name in needed}


def run_rest(steps: Sequence[Step], cut: str, features: Mapping[str, Tensor]) -> Tensor:
    """Map what is needed behind a cut to raw predictions (N, A, 5 + classes)."""
    index = [step.name for step in steps].index(cut) + 1
    return _run(steps[index:], features)[RAW]


def _run(steps: Sequence[Step], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    computed = dict(given)
    for step in steps:
        computed[step.name] = step.run(*(computed[name] for name in step.inputs))
    return computed
