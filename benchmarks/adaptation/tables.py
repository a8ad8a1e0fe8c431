"""The adaptation benchmark as Markdown, for README and docs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.adaptation.pooled import BEST_FIXED
from benchmarks.adaptation.summary import FORESIGHT, GREEDY_ORACLE, LAYERED, OPTIMUM, ORACLE, OURS

RIVALS = ("image", "see", "local")
NAMES = {
    OURS: "SlimSplit",
    "split": "features alone",
    "image": "images alone",
    "see": "SEE",
    "local": "device alone",
    GREEDY_ORACLE: "greedy oracle",
    LAYERED: "SlimSplit with `--in-layers`",
    BEST_FIXED: "the best fixed point, known afterwards",
    OPTIMUM: "the model's optimum",
    ORACLE: "oracle that plans",
}
DEVICES = {1.0: "this machine", 6.0: "Pi 5 (6x)", 14.0: "Pi 4 (14x)"}
NOT_MEASURED = "Not measured yet: `python -m benchmarks adapt --out docs/results/adapt.json`.\n"

Result = Mapping[str, Any]
Row = Mapping[str, Any]


FORMER_NAMES = {"oracle": GREEDY_ORACLE, "clairvoyant": ORACLE}  # of policies


def renamed(result: Result) -> Result:
    """Return a result with today's names: the greedy oracle was called the oracle once."""
    if not any("ap_of_oracle" in row for row in result["runs"]):
        return result
    listed = {key: rows for key, rows in result.items() if key in ("compared", "runs", "worst")}
    return {**result, **{key: [_renamed(row) for row in rows] for key, rows in listed.items()}}


def _renamed(row: Row) -> Row:
    named = {key.replace("of_oracle", "of_greedy"): value for key, value in row.items()}
    return named | {key: FORMER_NAMES.get(row[key], row[key]) for key in ("policy", "best_rival") if key in row}


def compared(result: Result) -> str:
    """Return a row for each trace and deadline: the controller, as a share of the greedy oracle, and its best rival."""
    return markdown_table(
        (
            "trace",
            "deadline ms",
            "met (of the greedy oracle's)",
            "AP (of the greedy oracle's)",
            "best rival, its AP",
            "lead, AP",
        ),
        [
            (
                row["trace"],
                f"{row['deadline_ms']:g}",
                f"{row['met_share']:.1%} ({_percent(row['met_share_of_greedy'])})",
                f"{row['ap']:.1f} ({_percent(row['ap_of_greedy'])})",
                "-" if row["best_rival"] is None else f"{_name(row['best_rival'])}, {row['best_rival_ap']:.1f}",
                "-" if row["ap_lead"] is None else f"{row['ap_lead']:+.1f}",
            )
            for row in _usual(result["compared"])
        ],
    )


def pooled(result: Result) -> str:
    """Return a row for each device, frame rate and policy: the mean over links and deadlines."""
    if "pooled" not in result:
        return NOT_MEASURED
    cells = dict.fromkeys((row["slowdown"], row["fps"], row["policy"]) for row in result["pooled"])
    header = ("device", "frames a second", "who chooses", "AP in time", "in time", "KB a frame", "SlimSplit's lead, AP")
    return markdown_table(header, [_pooled(cell, [r for r in result["pooled"] if _cell(r) == cell]) for cell in cells])


def by_device(result: Result) -> str:
    """Return a row for each who chooses, at the lowest frame rate, and a column for each device: AP, in time, KB.

    Without what was not run on every link, and what is off by default.
    """
    if "pooled" not in result:
        return NOT_MEASURED
    fps, links = (choose(row[key] for row in result["pooled"]) for choose, key in ((min, "fps"), (max, "links")))
    known = [r for r in result["pooled"] if (r["fps"], r["links"]) == (fps, links) and r["policy"] != LAYERED]
    devices = list(dict.fromkeys(row["slowdown"] for row in known))
    policies = dict.fromkeys(row["policy"] for row in known)
    cells = [[_short([r for r in known if _cell(r) == (d, fps, policy)]) for d in devices] for policy in policies]
    named = [(_name(policy), *figures) for policy, figures in zip(policies, cells, strict=True)]
    return markdown_table(("who chooses", *(DEVICES.get(device, f"{device:g}x slower") for device in devices)), named)


def _short(rows: Sequence[Row]) -> str:
    """Return AP, the share in time and KB of one policy on one device, over all deadlines; "-" where it was not run."""
    if not rows:
        return "-"
    in_time = 100 * sum(row["met_share"] for row in rows) / len(rows)
    return f"{_mean(rows, 'ap', 1)}, {in_time:.0f} %, {_mean(rows, 'kilobytes_mean', 1)}"


def _cell(row: Row) -> tuple[float, float, str]:
    return row["slowdown"], row["fps"], row["policy"]


def _pooled(cell: tuple[float, float, str], rows: Sequence[Row]) -> tuple[str, ...]:
    slowdown, fps, policy = cell
    lead = "-" if policy == OURS else " / ".join(_lead(row) for row in rows)
    figures = (_mean(rows, "ap", 1), f"{sum(row['met_share'] for row in rows) / len(rows):.1%}")
    device = DEVICES.get(slowdown, f"{slowdown:g}x slower")
    return device, f"{fps:g}", _name(policy), *figures, _mean(rows, "kilobytes_mean", 1), lead


def _lead(row: Row) -> str:
    """Return the lead by one deadline, with its interval over segments."""
    return f"{row['ap_lead']:+.1f} ({row['lead_low']:+.1f} to {row['lead_high']:+.1f})"


def _mean(rows: Sequence[Row], key: str, digits: int) -> str:
    return f"{sum(float(row[key]) for row in rows) / len(rows):.{digits}f}"


def targets(result: Result) -> str:
    """Return a row for each aim: at how many places it is reached, and where by how much the least."""
    if "targets" not in result:
        return NOT_MEASURED
    rows = [row for row in result["targets"] if row["places"]]
    return markdown_table(
        ("aim", "reached", "margin on average", "least margin"),
        [
            (
                row["target"],
                f"{row['reached']} of {row['places']}",
                f"{row['mean']:+.2f}",
                f"{row['worst']:+.2f} ({row['worst_at']})",
            )
            for row in rows
        ],
    )


def _usual(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one device, a Pi 5 where it is there, at the lowest frame rate."""
    slowdowns = list(dict.fromkeys(row.get("slowdown") for row in rows))
    slowdown = slowdowns[min(1, len(slowdowns) - 1)] if slowdowns else None
    fps = min((row.get("fps") or 0.0 for row in rows), default=0.0)
    return [row for row in rows if row.get("slowdown") == slowdown and (row.get("fps") or 0.0) == fps]


def policies(result: Result) -> str:
    """Return a row for each trace, deadline and policy; of the fixed points only the best one."""
    return _policies([row for group in _groups(_usual(result["runs"])) for row in _chosen(group)])


def real(result: Result) -> str:
    """Return a row for each run over real TCP."""
    return _policies([row for row in result["runs"] if "ap" in row])


def summary(result: Result) -> str:
    """Return the worst case over traces by each deadline, and how quickly the controller reacts."""
    worst = markdown_table(
        (
            "traces",
            "deadline ms",
            "met, of the greedy oracle's",
            "AP, of the greedy oracle's",
            "AP, lead over the best rival",
        ),
        [
            (
                row["traces"],
                f"{row['deadline_ms']:g}",
                _at(_percent(row["met_share_of_greedy"]), row["met_share_of_greedy_at"]),
                _at(_percent(row["ap_of_greedy"]), row["ap_of_greedy_at"]),
                _at("-" if row["ap_lead"] is None else f"{row['ap_lead']:+.1f}", row["ap_lead_at"]),
            )
            for row in result["worst"]
        ],
    )
    reactions = markdown_table(
        (
            "deadline ms",
            "late frames after a link 4 times slower",
            "s to 90 % of the new best after one 4 times faster",
            "frames until the width follows twice the load",
            "µs a decision",
        ),
        [
            (
                f"{row['deadline_ms']:g}",
                str(row["late_frames_after_step_down"]),
                _number(row["seconds_to_new_best_after_step_up"], 1),
                str(row["frames_until_width_follows_load"]),
                f"{row['decision_us_p50']:.0f}",
            )
            for row in result["reactions"]
        ],
    )
    return f"{worst}\n{reactions}"


def figures(result: Result) -> str:
    """Return the comparisons of all families and the time line, as docs/results shows them."""
    families = dict.fromkeys(row["family"] for row in result["runs"])
    shown = [figure(f"adapt-{family}", f"Effective AP of every policy on {family} links") for family in families]
    return "\n".join([*shown, time_line(result, "")])


def time_line(result: Result, folder: str) -> str:
    """Return one run of the controller over its time, as a page shows it that has the figures in a folder."""
    return figure(f"{folder}adapt-run", "A run over a changing link: capacity, bytes, mode and width, latency")


def figure(path: str, words: str) -> str:
    """Return a figure in the page's theme: PATH-light.png or PATH-dark.png."""
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{path}-dark.png">'
    return f'<picture>{dark}<img src="{path}-light.png" alt="{words}"></picture>\n'


def _policies(rows: Sequence[Row]) -> str:
    header = ("trace", "deadline ms", "policy", "met", "AP", "p50 / p95 / p99 ms", "KB", "switches a minute", "frames")
    return markdown_table(header, [_policy(row) for row in rows])


def _policy(row: Row) -> tuple[str, ...]:
    latency = " / ".join(_number(row[f"latency_ms_p{p}"], 0) for p in (50, 95, 99))
    return (
        row["trace"],
        f"{row['deadline_ms']:g}",
        _name(row["policy"]),
        f"{row['met_share']:.1%}",
        f"{row['ap']:.1f}",
        latency,
        f"{row['kilobytes_mean']:.1f}",
        f"{row['switches_per_min']:.0f}",
        ", ".join(f"{mode} {count}" for mode, count in row["frames"].items()),
    )


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    places = dict.fromkeys((row["trace"], row["deadline_ms"]) for row in rows)
    return [[row for row in rows if (row["trace"], row["deadline_ms"]) == place] for place in places]


def _chosen(group: Sequence[Row]) -> list[Row]:
    by_name = {row["policy"]: row for row in group}
    fixed = [row for row in group if row["policy"] not in {OURS, *RIVALS, *FORESIGHT}]
    best = sorted(fixed, key=lambda row: -float(row["ap"]))[:1]
    return [*(by_name[name] for name in (OURS, *RIVALS) if name in by_name), *best] + (
        [by_name[GREEDY_ORACLE]] if GREEDY_ORACLE in by_name else []
    )


def _name(policy: str) -> str:
    return NAMES.get(policy, f"always {policy}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _at(figure: str, trace: str | None) -> str:
    return figure if trace is None else f"{figure} ({trace})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table of Markdown."""
    lines = [f"| {' | '.join(line)} |\n" for line in (header, *rows)]
    return "".join([lines[0], f"{'|---' * len(header)}|\n", *lines[1:]])
