"""All runs of the adaptation benchmark together: shares of the greedy oracle, best rival, worst case. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

OURS, GREEDY_ORACLE, ORACLE = "adaptive", "greedy-oracle", "oracle"
LAYERED = "in-layers"  # the controller, where it may send frames in layers
OPTIMUM = "optimum"  # the best that can be known, where the link's law is
FORESIGHT = frozenset({GREEDY_ORACLE, ORACLE, OPTIMUM})
SPECIAL = (OURS, LAYERED, "split", "image", "see", "local", OPTIMUM, GREEDY_ORACLE, ORACLE)  # no fixed points
UNDER_OUR_CONTROLLER = ("see", "image")  # whose deadlines met are never to be above ours

Row = Mapping[str, Any]
Place = tuple[str, float, float, float]  # link, slowdown, frames a second, deadline in milliseconds


def with_shares(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the rows with their shares of what the greedy oracle reached on the same trace by the same deadline."""
    oracles = {place_of(row): row for row in rows if row["policy"] == GREEDY_ORACLE}
    return [{**row, **_shares(row, oracles.get(place_of(row)))} for row in rows]


def _shares(row: Row, oracle: Row | None) -> dict[str, float | None]:
    keys = ("ap", "met_share")
    known = oracle or dict.fromkeys(keys)
    return {f"{key}_of_greedy": round(row[key] / known[key], 4) if known[key] else None for key in keys}


def against_rivals(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a row for each trace and deadline: the controller, and its lead over the best rival without foresight.

    rows: those of `with_shares`. Empty where the controller itself was not run.
    """
    places = list(dict.fromkeys(map(place_of, rows)))
    groups = [{row["policy"]: row for row in rows if place_of(row) == place} for place in places]
    return [_against(group) for group in groups if OURS in group]


def _against(group: Mapping[str, Row]) -> dict[str, Any]:
    ours = group[OURS]
    rivals = [row for name, row in group.items() if name not in (OURS, LAYERED) and name not in FORESIGHT]
    best = max(rivals, key=lambda row: float(row["ap"]), default=None)
    compared = [group[name]["met_share"] for name in UNDER_OUR_CONTROLLER if name in group]
    kept = (
        "trace",
        "slowdown",
        "fps",
        "family",
        "tuned_on",
        "deadline_ms",
        "ap",
        "ap_of_greedy",
        "met_share",
        "met_share_of_greedy",
    )
    return {
        **{key: ours[key] for key in kept},
        "best_rival": None if best is None else best["policy"],
        "best_rival_ap": None if best is None else best["ap"],
        "ap_lead": None if best is None else round(ours["ap"] - best["ap"], 2),
        "met_lead": round(ours["met_share"] - max(compared), 4) if compared else None,
    }


def worst_cases(compared: Sequence[Row]) -> list[dict[str, Any]]:
    """Return, for each deadline, the worst over all traces and over those not tuned on. compared: `against_rivals`."""
    deadlines = sorted({row["deadline_ms"] for row in compared})
    chosen: list[tuple[str, Callable[[Row], bool]]] = [
        ("all", lambda row: True),
        ("not tuned on", lambda row: not row["tuned_on"]),
    ]
    cases = [
        (name, deadline, [row for row in compared if row["deadline_ms"] == deadline and includes(row)])
        for name, includes in chosen
        for deadline in deadlines
    ]
    return [{"traces": name, "deadline_ms": deadline, **_worst(rows)} for name, deadline, rows in cases if rows]


def _worst(rows: Sequence[Row]) -> dict[str, Any]:
    keys = ("met_share_of_greedy", "ap_of_greedy", "ap_lead", "met_lead")
    return {key: value for name in keys for key, value in _lowest(name, rows)}


def _lowest(key: str, rows: Sequence[Row]) -> Iterable[tuple[str, Any]]:
    row = min((row for row in rows if row[key] is not None), key=lambda row: float(row[key]), default=None)
    yield key, None if row is None else row[key]
    yield f"{key}_at", None if row is None else row["trace"]


def place_of(row: Row) -> Place:
    """Return where a row belongs to."""
    return row["trace"], row["slowdown"], row["fps"], row["deadline_ms"]
