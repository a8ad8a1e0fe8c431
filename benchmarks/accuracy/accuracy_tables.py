"""The accuracy of bundles and detectors, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Result = Mapping[str, Any]

ACCURACY_COLUMNS = ("operating point", "KB a frame (p90)", "AP", "AP50", "encode ms, PyTorch, one core", "device MMACs")
IMAGES = ("JPEG 10", "JPEG 30", "JPEG 75", "WebP 5", "WebP 20", "WebP 60")
SHORT = frozenset(
    [f"w1 q{quality}" for quality in (0, 2, 3, 5)] + [f"w4 q{quality}" for quality in (0, 2, 3, 4, 5)] + [*IMAGES]
)
STRETCHED_SHORT = frozenset(
    [f"w{width} q{quality}" for width in (1, 2, 4, 5) for quality in (0, 2, 4, 6, 8)] + [*IMAGES]
)


def accuracy(result: Result, only: Iterable[str] = ()) -> str:
    """Return a row for each operating point, or for those named."""
    chosen = frozenset(only)
    rows = [(_point_name(point), point) for point in result["points"]]
    header = f"| {' | '.join(ACCURACY_COLUMNS)} |\n{'|---' * len(ACCURACY_COLUMNS)}|\n"
    return header + "".join(_accuracy_row(name, p) for name, p in rows if not chosen or name in chosen)


def _point_name(point: Result) -> str:
    if point["width"]:
        return f"w{point['width']} q{point['quality']}"
    return f"{ {'jpeg': 'JPEG', 'webp': 'WebP'}[point['codec']] } {point['quality']}"


def _accuracy_row(name: str, point: Result) -> str:
    size = f"{point['bytes_mean'] / 1e3:.2f} ({point['bytes_p90'] / 1e3:.2f})"
    return (
        f"| {name} | {size} | {point['ap']:.1f} | {point['ap50']:.1f} "
        f"| {point['encode_ms_p50']:.1f} | {point['mmacs']:.0f} |\n"
    )


def unsplit(result: Result) -> str:
    """Return the accuracy of the detector that is not split."""
    return f"Unsplit, uncompressed: AP {result['unsplit']['ap']:.1f}, AP50 {result['unsplit']['ap50']:.1f}.\n"


def fine_tuned(result: Result) -> str:
    """Return what a detector's training came to."""
    start, best = result["evaluations"][0], result["ap"]
    return (
        f"Fine-tuned, uncompressed images: AP {best:.1f} (after {result['step']} steps); "
        f"the weights it began with: {start['ap']:.1f}, AP50 {start['ap50']:.1f}.\n"
    )
