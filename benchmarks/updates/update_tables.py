"""The tables of the update benchmark, from its JSON. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.updates.update_figures import LEVELS

Result = Mapping[str, Any]
NOT_YET = "SlimSplit's own updates are not measured yet.\n"


def update_tasks(result: Result) -> str:
    """Return what each task has to gain."""
    header = (
        "| task | held-out images | boxes | AP before | AP fully trained | AP50 fully trained | fidelity before |\n"
        "|---|---|---|---|---|---|---|\n"
    )
    pairs = [_ends(result, task) for task in _tasks(result["ends"])]
    rows = "".join(
        f"| {after['task']} | {after['images']} | {after['boxes']} | {before['ap']:.1f} | {after['ap']:.1f} | "
        f"{after['ap_50']:.1f} | {before['fidelity']:.1f} |\n"
        for before, after in pairs
    )
    settings = result["settings"]
    made = ", ".join(f"{after['task']} {after['full_training']}" for _, after in pairs)
    return (
        f"{header}{rows}\n{settings['square']} pixels a side. The full training: {made}. Each training of what is sent "
        f"takes {settings['steps']} steps of {settings['batch_size']} images. The first seed.\n"
    )


def _ends(result: Result, task: str) -> tuple[Result, Result]:
    rows = [row for row in result["ends"] if row["task"] == task]
    return rows[0], rows[1]


def update_bytes(result: Result) -> str:
    """Return the kilobytes that each method needs for each fidelity, task by task."""
    return _bytes(result["best"])


def update_bytes_50(result: Result) -> str:
    """Return the same where boxes need to overlap by half only."""
    return _bytes(result["best_50"])


def _bytes(best: Sequence[Result]) -> str:
    tasks = _tasks(best)
    columns = [f"{task}, {level:g} %" for task in tasks for level in LEVELS[:3]]
    header = f"| KB for a fidelity | {' | '.join(columns)} |\n|---{'|---' * len(columns)}|\n"
    found = {(row["task"], row["method"]): row for row in best}
    lines = []
    for method in dict.fromkeys(row["method"] for row in best):
        cells = [
            _kilobytes(found.get((task, method), {}).get(f"bytes_{one:g}")) for task in tasks for one in LEVELS[:3]
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |\n")
    return f"{header}{''.join(lines)}"


def update_ratios(result: Result) -> str:
    """Return our bytes against the best rival's at each fidelity."""
    names = ("task", "fidelity", "KB", "best rival", "its KB", "ratio", "95 % interval", "seeds")
    header = f"| {' | '.join(names)} |\n|{'---|' * len(names)}\n"
    both = [("", row) for row in result["comparisons"]] + [
        (" (overlap of half)", row) for row in result["comparisons_50"]
    ]
    shown = [(words, row) for words, row in both if row["fidelity"] in LEVELS[:3] and row["seeds"]]
    return header + "".join(_ratio(words, row) for words, row in shown) if shown else NOT_YET


def _ratio(words: str, row: Result) -> str:
    ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
    is_known = row["ratio_low"] is not None
    high = "-" if not is_known else "not reached" if row["ratio_high"] is None else f"{row['ratio_high']:.2f}"
    spread = f"{row['ratio_low']:.2f} to {high}" if is_known else "-"
    return (
        f"| {row['task']} | {row['fidelity']:g} %{words} | {_kilobytes(row['bytes'])} | {row['rival'] or '-'} | "
        f"{_kilobytes(row['rival_bytes'])} | {ratio} | {spread} | {row['seeds']} |\n"
    )


def update_budgets(result: Result) -> str:
    """Return what fits in each budget."""
    header = "| task | budget, KB | fidelity | best rival's | gain | best rival's |\n|---|---|---|---|---|---|\n"
    shown = [row for row in result["budgets"] if row["fidelity"] is not None]
    rows = "".join(
        f"| {row['task']} | {row['budget_kb']} | {_percent(row['fidelity'])} | {_percent(row['rival_fidelity'])} | "
        f"{_percent(row['gain_share'], 100)} | {_percent(row['rival_gain_share'], 100)} |\n"
        for row in shown
    )
    return f"{header}{rows}" if shown else NOT_YET


def _kilobytes(size: float | None) -> str:
    return "-" if size is None else f"{size / 1000:.1f}" if size < 1e5 else f"{size / 1000:.0f}"


def _percent(value: float | None, factor: float = 1) -> str:
    return "-" if value is None else f"{factor * value:.0f} %"


def _tasks(rows: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(row["task"] for row in rows))


def applying(result: Result) -> str:
    """Return what applying an update takes of a device."""
    return (
        "| | |\n|---|---|\n"
        f"| applying, a million weights | {result['seconds_per_million']:.2f} s |\n"
        f"| most memory, the old model included | {result['peak_of_model']:.1f} times the model |\n"
    )
