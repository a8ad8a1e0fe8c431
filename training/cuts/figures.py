"""Figures of a detector's measured cuts, and the choice among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splitnet.errors import ConfigError


@dataclass(frozen=True)
class TensorStudy:
    """One tensor that is needed behind a cut."""

    name: str
    shape: tuple[int, int, int]  # (C, H, W) of a whole square
    components: Mapping[str, int]  # how many hold 90, 95 and 99 % of the energy
    spectrum: tuple[float, ...]  # shares of the energy along the components, falling


@dataclass(frozen=True)
class CutPoint:
    """A cut at one rank and one step, measured through the bitstream."""

    energy: float  # that the components which are kept hold at least
    components: Mapping[str, int]
    step: float
    ap: float  # percent
    ap50: float  # percent
    bytes_mean: float
    bytes_p90: float


@dataclass(frozen=True)
class CutStudy:
    """One cut."""

    cut: str
    mmacs_before: float  # on the device, a 4:3 frame, without the projection
    mmacs_after: float  # on the server, the whole square
    tensors: tuple[TensorStudy, ...]
    points: tuple[CutPoint, ...]


@dataclass(frozen=True)
class Choice:
    """A point that was recommended."""

    cut: CutStudy
    point: CutPoint


def recommend(cuts: Sequence[CutStudy], device_mmacs: float, size_bytes: float) -> Choice | None:
    """Return the most accurate point within a device's MMACs and mean bytes a frame; of equals, the fewest bytes."""
    affordable = [
        Choice(cut, point)
        for cut in cuts
        if cut.mmacs_before <= device_mmacs
        for point in cut.points
        if point.bytes_mean <= size_bytes
    ]
    return max(affordable, key=lambda choice: (choice.point.ap, -choice.point.bytes_mean), default=None)


def cut_to_json(cut: CutStudy) -> dict[str, Any]:
    """Return a cut as plain JSON values."""
    return asdict(cut)


def cut_from_json(values: Mapping[str, Any]) -> CutStudy:
    """Return a cut from what `cut_to_json` made. ConfigError if it is something else."""
    try:
        tensors = [{**t, "shape": tuple(t["shape"]), "spectrum": tuple(t["spectrum"])} for t in values["tensors"]]
        return CutStudy(
            **{
                **values,
                "tensors": tuple(TensorStudy(**tensor) for tensor in tensors),
                "points": tuple(CutPoint(**point) for point in values["points"]),
            }
        )
    except (KeyError, TypeError) as error:
        raise ConfigError(f"these are not figures of a cut: {error!r}") from error
