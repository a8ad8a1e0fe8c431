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

from benchmarks.accuracy import backends_tables, kinds_tables, own_detector_tables, split_points_tables
from benchmarks.accuracy.choices_tables import choices
from benchmarks.accuracy.rate_tables import equal_bytes, failures, rate, rate_summary
from benchmarks.adaptation import tables as adapt_tables
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.processes import PROJECT
from benchmarks.serving import attack_tables, endurance_tables
from benchmarks.sharing import sharing_tables
from benchmarks.video.video_tables import delays, video, video_ratios, video_ratios_by_judge
from splitnet.errors import ConfigError

RESULTS = Path("docs/results")
DOCUMENTS = (
    Path("README.md"),
    RESULTS / "README.md",
    Path("bundles/coco-nano/README.md"),
    Path("bundles/coco-plus/README.md"),
    Path("bundles/highway-nano/README.md"),
    Path("docs/accuracy.md"),
    Path("docs/adaptation.md"),
    Path("docs/devices.md"),
    Path("docs/operations.md"),
    Path("docs/testing.md"),
    Path("docs/split-points.md"),
    Path("docs/own-detector.md"),
    Path("docs/sharing.md"),
    Path("docs/training.md"),
    Path("docs/video.md"),
)
MARKED = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
ACCURACY_COLUMNS = ("operating point", "KB a frame (p90)", "AP", "AP50", "encode ms, PyTorch, one core", "device MMACs")
IMAGES = ("JPEG 10", "JPEG 30", "JPEG 75", "WebP 5", "WebP 20", "WebP 60")
SHORT = frozenset(
    [f"w1 q{quality}" for quality in (0, 2, 3, 5)] + [f"w4 q{quality}" for quality in (0, 2, 3, 4, 5)] + [*IMAGES]
)
STRETCHED_SHORT = frozenset(
    [f"w{width} q{quality}" for width in (1, 2, 4, 5) for quality in (0, 2, 4, 6, 8)] + [*IMAGES]
)

ADAPT = (
    "adapt",
    "adapt-pooled",
    "adapt-targets",
    "adapt-policies",
    "adapt-summary",
    "adapt-figures",
    "adapt-run",
    "adapt-real",
)
CUTS = (
    "split-points",
    "split-points-choices",
    "split-points-cuts",
    "split-points-free",
    "split-points-trained",
    "split-points-verified",
)
SHARING = tuple(
    f"sharing-{table}" for table in ("correlations", "frontier", "baselines", "distilled", "memory", "time")
)
# Tables that may lack their result.
LATER = frozenset(
    [
        "serve",
        "highway",
        "highway-detector",
        "highway-unsplit",
        "debris",
        "debris-unsplit",
        "debris-detector",
        "rate",
        "rate-short",
        "rate-rows",
        "choices",
        "backends",
        "failures",
        "fuzz",
        "soak",
        "tls",
        "attack",
        "kinds",
        "kinds-alone",
        *ADAPT,
        *CUTS,
        "guide",
        "training-cost",
        "video",
        "video-ratios",
        "delay",
        "video-ratios-by-judge",
        *SHARING,
    ]
)
SERVE_FIGURE = (
    '<picture><source media="(prefers-color-scheme: dark)" srcset="serve-dark.png">'
    '<img src="serve-light.png" alt="Goodput and latency over the load, with batching and without"></picture>'
)
NOT_YET = "Not measured yet: `make bench`.\n"

Result = Mapping[str, Any]


def rewritten(text: str, results: Path) -> str:
    """Return a document with every marked table made anew. ConfigError if a marker or a result is unknown."""

    def fill(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ConfigError(f"no table is called {match[2]!r}; there are {', '.join(TABLES)}")
        file, make = TABLES[match[2]]
        known = match[2] not in LATER or (results / file).exists()
        return f"{match[1]}{make(_read(results / file)) if known else NOT_YET}{match[3]}"

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


def fine_tuned(result: Result) -> str:
    """Return what a detector's training came to."""
    start, best = result["evaluations"][0], result["ap"]
    return (
        f"Fine-tuned, uncompressed images: AP {best:.1f} (after {result['step']} steps); "
        f"the weights it began with: {start['ap']:.1f}, AP50 {start['ap50']:.1f}.\n"
    )


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


def small(result: Result) -> str:
    """Return what a device without PyTorch takes."""
    header = "| | on disk | resident | at most, while it starts | first answer after |\n|---|---|---|---|---|\n"
    return header + "".join(
        f"| {row['device']} | {row['disk_mb']:.0f} MB | {row['resident_mb']:.0f} MB | {row['peak_mb']:.0f} MB | "
        f"{row['first_answer_s']:.1f} s |\n"
        for row in result["rows"]
    )


def watching(result: Result) -> str:
    """Return what it costs a server to be watched."""
    return (
        "| of one core | |\n|---|---|\n"
        f"| the page with {result['devices']} devices, while somebody looks | {result['page_share']:.2%} |\n"
        f"| counting, at 100 frames a second | {result['counts_share_at_100_fps']:.2%} |\n"
        f"| a scrape every 15 s | {result['scrape_share_every_15_s']:.2%} |\n"
    )


def serve(result: Result) -> str:
    """Return what a server under load gives, as a share of the bare model, and how it bears the rest."""
    header = (
        "| server | load | goodput | of the bare model's | Jain's index | p50 / p99 ms | refused | late | batch |\n"
    )
    rows = "".join(map(_serve_row, result["loads"]))
    found = result["sessions"][-1]
    others, flooder = result["flooding"]
    halting, awake = result["overhead"]
    lost = sum(row["not_in_time"] for row in result["switch"])
    sent = sum(row["sent"] for row in result["switch"])
    return (
        f"{header}{'|---' * 9}|\n{rows}\n"
        "| | |\n|---|---|\n"
        f"| the bare batched model, on as many cores ({result['server_cores']}) | "
        f"{result['bare_frames_per_s']:.1f} frames/s |\n"
        f"| one call at a time | {result['one_call_at_a_time_frames_per_s']:.1f} frames/s |\n"
        f"| best goodput, as a share of the bare model's | {result['peak_share_of_bare']:.0%} |\n"
        f"| goodput at the highest load, as a share of the best | {result['share_of_peak_at_highest_load']:.0%} |\n"
        f"| a frame's time beside waiting, decoding and computing, at load {halting['load']:g}, median "
        f"| {_beside(halting)}; on cores that never halt {_beside(awake)} |\n"
        f"| {found['sessions']} sessions on {result['sessions_cores']} cores shared with the devices | "
        f"{found['sent_per_s'] / found['sessions']:.2f} frames/s each, {found['in_time']:.1%} in time, "
        f"Jain's index {found['jain']:.3f} |\n"
        f"| one device sends ten times as much as each of {others['devices']} others | the others: "
        f"{others['in_time']:.1%} in time; the one: {flooder['in_time']:.1%} |\n"
        f"| a bundle replaced under load | {result['switch_errors']} errors, {lost} of {sent} frames not in time, "
        f"new one ready after {result['switch_s']:.1f} s |\n"
        f"\n{SERVE_FIGURE}\n"
    )


def _beside(row: Result) -> str:
    return f"{row['overhead_ms_p50']:.1f} ms, {row['ack_ms_p50']:.1f} of them the stream's own round trip"


def _serve_row(row: Result) -> str:
    latency = " / ".join("-" if row[key] is None else f"{row[key]:.0f}" for key in ("latency_ms_p50", "latency_ms_p99"))
    size = "-" if row["batch_size_mean"] is None else f"{row['batch_size_mean']:.1f}"
    return (
        f"| {row['server']} | {row['load']:g} | {row['goodput_per_s']:.1f} | {row['share_of_bare']:.0%} "
        f"({row['share_of_bare_min']:.0%}-{row['share_of_bare_max']:.0%}) | {row['jain']:.3f} | {latency} "
        f"| {row['shed'] + row['expired']} | {row['late']} | {size} |\n"
    )


def _adapt(make: Callable[[Result], str]) -> Callable[[Result], str]:
    return lambda result: make(adapt_tables.renamed(result))


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "accuracy": ("accuracy.json", accuracy),
    "accuracy-short": ("accuracy.json", lambda result: accuracy(result, STRETCHED_SHORT)),
    "nano": ("coco-nano.json", lambda result: accuracy(result, SHORT)),
    "nano-unsplit": ("coco-nano.json", unsplit),
    "unsplit": ("accuracy.json", unsplit),
    "highway": ("highway.json", lambda result: accuracy(result, SHORT)),
    "highway-unsplit": ("highway.json", unsplit),
    "highway-detector": ("highway-detector.json", fine_tuned),
    "debris": ("debris.json", lambda result: accuracy(result, SHORT)),
    "debris-unsplit": ("debris.json", unsplit),
    "debris-detector": ("debris-detector.json", own_detector_tables.learning_curve),
    "codec": ("codec.json", codec),
    "switch": ("switch.json", switch),
    "overhead": ("overhead.json", overhead),
    "serve": ("serve.json", serve),
    "watching": ("watching.json", watching),
    "small": ("small.json", small),
    "adapt": ("adapt.json", _adapt(adapt_tables.compared)),
    "adapt-pooled": ("adapt.json", adapt_tables.pooled),
    "adapt-targets": ("adapt.json", adapt_tables.targets),
    "adapt-policies": ("adapt.json", _adapt(adapt_tables.policies)),
    "adapt-summary": ("adapt.json", _adapt(adapt_tables.summary)),
    "adapt-figures": ("adapt.json", _adapt(adapt_tables.figures)),
    "adapt-run": ("adapt.json", lambda result: adapt_tables.time_line(result, "results/")),
    "adapt-real": ("adapt-real.json", adapt_tables.real),
    "rate": ("rate.json", rate),
    "rate-short": ("rate.json", rate_summary),
    "rate-rows": ("rate.json", equal_bytes),
    "choices": ("choices.json", choices),
    "backends": ("backends.json", backends_tables.backends),
    "failures": ("failures.json", failures),
    "fuzz": ("fuzz.json", endurance_tables.fuzz),
    "soak": ("soak.json", endurance_tables.soak),
    "tls": ("tls.json", attack_tables.tls),
    "attack": ("attack.json", attack_tables.attack),
    "split-points": ("split-points.json", split_points_tables.budgets),
    "split-points-choices": ("split-points.json", split_points_tables.choices),
    "split-points-cuts": ("split-points.json", split_points_tables.cuts),
    "split-points-free": ("split-points-free.json", split_points_tables.bundle),
    "split-points-trained": ("split-points-trained.json", split_points_tables.bundle),
    "split-points-verified": ("split-points-distilled.json", split_points_tables.verified),
    "guide": ("guide.json", own_detector_tables.guide),
    "training-cost": ("training-cost.json", own_detector_tables.training_cost),
    "video": ("video.json", video),
    "video-ratios": ("video.json", video_ratios),
    "delay": ("delay.json", delays),
    "video-ratios-by-judge": ("video.json", video_ratios_by_judge),
    "sharing-correlations": ("sharing.json", sharing_tables.sharing_correlations),
    "sharing-frontier": ("sharing.json", sharing_tables.sharing_frontier),
    "sharing-baselines": ("sharing.json", sharing_tables.sharing_baselines),
    "sharing-distilled": ("sharing.json", sharing_tables.sharing_distilled),
    "sharing-memory": ("sharing.json", sharing_tables.sharing_memory),
    "sharing-time": ("sharing.json", sharing_tables.sharing_time),
    "kinds": ("slimmable.json", kinds_tables.kinds),
    "kinds-alone": ("slimmable.json", kinds_tables.alone),
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
