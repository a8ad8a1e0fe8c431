"""Write the figures of docs/results into the tables of README and docs, between their markers.

A marker pair is `<!-- begin NAME -->` and `<!-- end NAME -->`, each on a line of its own.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.benchmark import Benchmark
from benchmarks.processes import PROJECT
from splitnet.errors import ConfigError

RESULTS = Path("docs/results")
DOCUMENTS = (Path("README.md"), RESULTS / "README.md", Path("bundles/coco-nano/README.md"))
MARKED = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
ACCURACY_COLUMNS = ("operating point", "KB a frame (p90)", "AP", "AP50", "encode ms, one core", "device MMACs")
SHORT = frozenset(
    [f"w1 q{quality}" for quality in (0, 2, 3, 5)]
    + [f"w4 q{quality}" for quality in (0, 2, 3, 4, 5)]
    + ["JPEG 10", "JPEG 30", "JPEG 75", "WebP 5", "WebP 20", "WebP 60"]
)

Result = Mapping[str, Any]


def rewritten(text: str, results: Path) -> str:
    """Return a document with every marked table made anew. ConfigError if a marker or a result is unknown."""

    def fill(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ConfigError(f"no table is called {match[2]!r}; there are {', '.join(TABLES)}")
        file, make = TABLES[match[2]]
        return f"{match[1]}{make(_read(results / file))}{match[3]}"

    return MARKED.sub(fill, text)


def _read(path: Path) -> Result:
    try:
        result: Result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); measure it again: docs/results/README.md says how"
        ) from error
    return result


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


def codec(result: Result) -> str:
    """Return what the entropy coder costs and saves."""
    return (
        "| | |\n|---|---|\n"
        f"| rANS payload, {result['symbols']:,} symbols | {result['rans_bytes']:,} bytes; the entropy of the tables is "
        f"{result['entropy_bytes']:,.0f}, zstd-3 needs {result['zstd3_bytes']:,} |\n"
        f"| coding / decoding them | {result['encode_ms_p50']:.2f} / {result['decode_ms_p50']:.2f} ms |\n"
    )


def switch(result: Result) -> str:
    """Return what changing the operating point costs."""
    return (
        "| | |\n|---|---|\n"
        f"| changing the operating point between two frames | {result['lookup_ms_p50']:.3f} ms |\n"
        f"| loading another model instead | {result['reload_ms_p50']:.0f} ms |\n"
    )


def overhead(result: Result) -> str:
    """Return where the time of a frame over loopback goes."""
    return (
        "| | |\n|---|---|\n"
        f"| end to end over loopback, one frame at a time | {result['end_to_end_ms_p50']:.1f} ms |\n"
        f"| of which computation | {result['compute_ms_p50']:.1f} ms |\n"
        f"| everything else | {result['overhead_ms_p50']:.1f} ms |\n"
    )


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "accuracy": ("accuracy.json", accuracy),
    "accuracy-short": ("accuracy.json", lambda result: accuracy(result, SHORT)),
    "unsplit": ("accuracy.json", unsplit),
    "codec": ("codec.json", codec),
    "switch": ("switch.json", switch),
    "overhead": ("overhead.json", overhead),
}


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is out of date")


def _run(options: Namespace) -> dict[str, object]:
    stale = [path for path in DOCUMENTS if _document(PROJECT / path, write=not options.check)]
    if stale and options.check:
        raise ConfigError(f"out of date: {', '.join(map(str, stale))}; run `python -m benchmarks document`")
    return {"benchmark": "document", "rewritten": ", ".join(map(str, stale)) or "nothing, all was up to date"}


def _document(path: Path, write: bool) -> bool:
    """Make a document's tables anew; returns whether that changed anything."""
    text = path.read_text(encoding="utf-8")
    new = rewritten(text, PROJECT / RESULTS)
    if write and new != text:
        path.write_text(new, encoding="utf-8")
    return new != text


BENCHMARK = Benchmark("document", "write the figures of docs/results into README and docs", _arguments, _run)
