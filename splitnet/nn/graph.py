"""A detector as named steps, so that it can be cut behind any of them, the neck's included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import IMAGE, RAW, Detector, Step


def steps_of(detector: Detector) -> tuple[Step, ...]:
    """Return the steps of a whole detector, from "image" to "raw", in order of execution.

    ConfigError if it is cut already.
    """
    return architecture_of(detector.name).steps(detector)


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
    """Map what is needed behind a cut to raw predictions (N, A, ...)."""
    index = [step.name for step in steps].index(cut) + 1
    return _run(steps[index:], features)[RAW]


def _run(steps: Sequence[Step], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    computed = dict(given)
    for step in steps:
        computed[step.name] = step.run(*(computed[name] for name in step.inputs))
    return computed
