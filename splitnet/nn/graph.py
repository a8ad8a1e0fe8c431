"""A detector as named nodes, so that it can be cut behind any of them, the neck's included."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from splitnet.errors import ConfigError
from splitnet.nn.architectures import architecture_of
from splitnet.nn.detector import IMAGE, RAW, Detector, Node


def nodes_of(detector: Detector) -> tuple[Node, ...]:
    """Return the nodes of a whole detector, from "image" to "raw", in order of execution.

    ConfigError if it is cut already.
    """
    return architecture_of(detector.name).nodes(detector)


def needed_after(nodes: Sequence[Node], cut: str) -> tuple[str, ...]:
    """Return which tensors must be known to go on behind a cut, in order; ConfigError on an unknown cut."""
    names = [node.name for node in nodes[:-1]]
    if cut not in names:
        raise ConfigError(f"unknown cut {cut!r}; choose one of {', '.join(names)}")
    index = names.index(cut) + 1
    read = {name for node in nodes[index:] for name in node.inputs}
    return tuple(name for name in names[:index] if name in read)


def run_front(nodes: Sequence[Node], cut: str, image: Tensor) -> dict[str, Tensor]:
    """Map pictures (N, 3, H, W) float32 0..255 to what is needed behind a cut, by name."""
    needed = needed_after(nodes, cut)
    index = [node.name for node in nodes].index(cut) + 1
    computed = _run(nodes[:index], {IMAGE: image})
    return {name: computed[name] for name in needed}


def run_rest(nodes: Sequence[Node], cut: str, features: Mapping[str, Tensor]) -> Tensor:
    """Map what is needed behind a cut to raw predictions (N, A, ...)."""
    index = [node.name for node in nodes].index(cut) + 1
    return _run(nodes[index:], features)[RAW]


def _run(nodes: Sequence[Node], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    computed = dict(given)
    for node in nodes:
        computed[node.name] = node.run(*(computed[name] for name in node.inputs))
    return computed


def run_to(nodes: Sequence[Node], given: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """Map tensors by name to others behind them; only what leads there is computed. ConfigError if nothing does."""
    by_name = {node.name: node for node in nodes}
    computed = dict(given)

    def compute(name: str) -> Tensor:
        if name not in computed:
            if name not in by_name:
                raise ConfigError(f"{name} does not follow from {', '.join(given)}")
            node = by_name[name]
            computed[name] = node.run(*(compute(one) for one in node.inputs))
        return computed[name]

    return {name: compute(name) for name in names}
