"""The figures of the benchmarks `rate` and `failures`, as tables for README, docs and model card."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.accuracy.rate_plot import NAMES

Result = Mapping[str, Any]
Row = Mapping[str, Any]

_SHORTLIST = ("webp", "jpeg")


def rate_summary(result: Result, folder: str = "results/") -> str:
    """Return the plot, the accuracy at equal bytes, and what encoding costs. folder: of the plot, from the document."""
    return "\n".join([_figure(folder), _leads(result), _costs(result), _terms(result)])


def equal_bytes(result: Result, sizes: Sequence[float] = (1, 2.5, 6, 10)) -> str:
    """Return the AP of any width, of WebP and of JPEG at a few sizes of a frame in KB, and on what it was measured."""
    places = {(row["rival"], row["kilobytes"]): row for row in result["leads"] if row["curve"] == "any width"}
    rows = [
        [f"{size:g}", _ap(places["jpeg", size]["ap"]), *(_ap(places[rival, size]["rival_ap"]) for rival in _SHORTLIST)]
        for size in sizes
    ]
    unsplit = next(row for row in result["unsplit"] if row["detector"] == result["rivals_detector"])
    terms = f"{result['images']} images; the unsplit detector has AP {unsplit['ap']:.1f} on them, uncompressed."
    return f"{_table(['KB a frame', 'split', *map(_name, _SHORTLIST)], rows)}\n{terms}\n"


def rate(result: Result) -> str:
    """Return everything: the summary, the bytes at equal accuracy, and every point."""
    return "\n".join([rate_summary(result, ""), _bd_rates(result), _points(result)])


def failures(result: Result) -> str:
    """Return how many small and crowded objects each way finds, and some scenes."""
    ways = result["ways"]
    rows = [
        [f"1/{row['photographs_a_side']}", str(row["objects"]), *(str(row[way]) for way in ways)]
        for row in result["scenes"]
    ]
    shown = "".join(
        f"\n![{side} x {side} images: found in green, missed in red](../../docs/results/failures-{side}.jpg)\n"
        for side in result["shown"]
    )
    return _table(["size of the objects", "objects", *(f"{way} finds" for way in ways)], rows) + shown


def _figure(folder: str) -> str:
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}rate-dark.png">'
        f'<img src="{folder}rate-light.png" alt="Average precision against bytes a frame"></picture>\n'
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _leads(result: Result) -> str:
    """Return the AP of widths and rivals at equal bytes."""
    curves = list(dict.fromkeys(row["curve"] for row in result["leads"]))
    rivals = list(dict.fromkeys(row["rival"] for row in result["leads"]))
    by_place = {(row["curve"], row["rival"], row["kilobytes"]): row for row in result["leads"]}
    rows = []
    for size in sorted({row["kilobytes"] for row in result["leads"]}):
        found = [by_place.get((curve, rivals[0], size)) for curve in curves]
        other = [next((by_place[c, r, size] for c in curves if (c, r, size) in by_place), None) for r in rivals]
        cells = [*(_with_band(row) for row in found), *(_ap(None if row is None else row["rival_ap"]) for row in other)]
        rows.append([f"{size:g}", *cells])
    return _table(["KB a frame", *(f"AP of {curve}" for curve in curves), *(_name(r) for r in rivals)], rows)


def _costs(result: Result) -> str:
    """Return what the device spends for each way, in the same run."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in result["points"]:
        groups.setdefault((row["curve"], row["setting"]), []).append(row)
    rows = [[_title(*key), _ms(found, "encode_ms_p50"), f"{found[0]['mmacs']:.0f}"] for key, found in groups.items()]
    whole = [
        [f"the {row['detector']} detector itself", f"{row['detect_ms_p50']:.1f}", f"{row['mmacs']:.0f}"]
        for row in result["unsplit"]
    ]
    return _table(["on the device", "ms, one core, conversion included", "MMACs"], [*rows, *whole])


def _title(curve: str, setting: str) -> str:
    if setting == "split":
        return curve
    return setting.replace(curve, _name(curve), 1) if curve in NAMES else f"{curve} {setting.removeprefix('bundle ')}"


def _terms(result: Result) -> str:
    found = "; ".join(f"{row['detector']} {row['ap']:.1f} (AP50 {row['ap50']:.1f})" for row in result["unsplit"])
    return (
        f"{result['images']} images, bundle {result['bundle']} by {result['backend']}; in brackets the 95 % "
        f"interval (basic bootstrap, {result['resamples']} resamples of the images). "
        f"Detectors on uncompressed images: {found}. The "
        f"codecs' images go to the {result['rivals_detector']} one; each stands with the best of its settings "
        "and sizes.\n"
    )


def _bd_rates(result: Result) -> str:
    """Return the bytes that each width needs more or fewer than each codec at equal AP."""
    rows = [
        [
            row["curve"],
            _name(row["rival"]) + ("" if row["sizes"] == "any" else f" at {row['sizes']} pixels"),
            _percent(row["bd_rate_percent"], row["low"], row["high"]),
            "-" if row["ap_from"] is None else f"{row['ap_from']:.1f} to {row['ap_to']:.1f}",
        ]
        for row in result["bd_rate"]
    ]
    return _table(["width", "against", "bytes at equal AP (BD-rate)", "over AP"], rows)


def _points(result: Result) -> str:
    rows = [
        [
            _title(row["curve"], row["setting"]),
            str(row["size"]),
            str(row["quality"]),
            f"{row['bytes_mean'] / 1e3:.2f} ({row['bytes_p90'] / 1e3:.2f})",
            _with_band(row),
            f"{row['ap50']:.1f}",
            f"{row['encode_ms_p50']:.1f}",
        ]
        for row in result["points"]
    ]
    return _table(["way", "pixels", "quality", "KB (p90)", "AP", "AP50", "encode ms"], rows)


def _name(curve: str) -> str:
    return NAMES.get(curve, curve)


def _ap(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _with_band(row: Row | None) -> str:
    return "-" if row is None else f"{row['ap']:.1f} ({_ap(row['ap_low'])} to {_ap(row['ap_high'])})"


def _ms(rows: Sequence[Row], key: str) -> str:
    return f"{statistics.median(row[key] for row in rows):.1f}"


def _percent(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "share no AP"
    band = "" if low is None or high is None else f" ({low:+.0f} to {high:+.0f})"
    return f"{value:+.0f} %{band}"
