"""What is wrong with a fleet, in plain words, and what to do about it: the banner of the page. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cloud_server.fleet.fleet import Fleet, Refusal

RECENT_S = 300.0
MIN_IN_TIME = 0.9  # of the camera's frames
MIN_FPS = 0.2  # below this, nothing is said of a device's deadlines
HOT_C = 80
MAX_NAMED = 3
BUSY_SHARE = 0.02  # of the frames that are refused
SEVERITIES = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """Something to know, and what to do."""

    severity: str  # one of SEVERITIES
    what: str
    do: str

    def to_json(self) -> dict[str, str]:
        """Return it as JSON values."""
        return asdict(self)


def findings(fleet: Fleet, rows: Sequence[dict[str, Any]], now: float, listen: str) -> list[Finding]:
    """Return what is wrong, the worst first. rows: `rows.row_of` every device. listen: where devices connect."""
    found = [*_of_the_server(fleet, rows, now, listen), *_of_devices(rows)]
    return sorted(found, key=lambda one: SEVERITIES.index(one.severity))


def _of_the_server(fleet: Fleet, rows: Sequence[dict[str, Any]], now: float, listen: str) -> Iterator[Finding]:
    if fleet.is_draining:
        yield Finding("warning", "This server is shutting down.", "Devices with a second --server move there.")
    if not rows:
        start = f"On a device: edge-client run --server {listen} --source 0 --deadline-ms 200"
        yield Finding("info", "No device has connected yet.", start)
    yield from _of_refusals([one for one in fleet.refusals if now - one.at <= RECENT_S])
    lost, camera = (sum(row[key] for row in rows) for key in ("lost_fps", "camera_fps"))
    if lost > BUSY_SHARE * camera:
        share = f"{lost / camera:.0%} of the frames are refused or lost."
        yield Finding("warning", share, "Send fewer frames (--fps), tune the server, or add one (a second --server).")


def _of_refusals(recent: Sequence[Refusal]) -> Iterator[Finding]:
    if recent:
        last = recent[-1]
        times = "once" if len(recent) == 1 else f"{len(recent)} times"
        yield Finding("error", f"A device at {last.host} was refused {times} in five minutes.", f"{last.text}.")


def _of_devices(rows: Sequence[dict[str, Any]]) -> Iterator[Finding]:
    gone = [row for row in rows if row["state"] == "gone"]
    if gone:
        yield Finding("error", f"{_named(gone, 'is', 'are')} gone.", "Check power and network, and its log.")
    here = [row for row in rows if row["state"] != "gone"]
    silent = [row for row in here if row["state"] == "idle"]
    if silent:
        do = "Is the camera plugged in, or the video at its end?"
        yield Finding("warning", f"{_named(silent, 'is', 'are')} connected, but no frames come.", do)
    late = [row for row in here if row["camera_fps"] > MIN_FPS and (row["in_time"] or 0.0) < MIN_IN_TIME]
    if late:
        yield Finding("warning", f"{_named(late, 'misses deadlines', 'miss deadlines')}.", _about(late))
    hot = [row for row in here if (row["temperature_c"] or 0) >= HOT_C]
    if hot:
        do = "It slows down soon: give it air, or a smaller --width."
        yield Finding("warning", f"{_named(hot, 'is', 'are')} at {hot[0]['temperature_c']} °C.", do)


def _about(late: Sequence[dict[str, Any]]) -> str:
    """Return what to do about a device that is late, from what is known of the first."""
    row = late[0]
    if row["skipped_fps"] > row["late_fps"]:
        return "Frames come faster than they can be handled: lower the camera's rate."
    if row["capacity_kbps"] and row["rtt_ms"] and row["deadline_ms"] and row["rtt_ms"] > row["deadline_ms"]:
        return f"The round trip alone takes {row['rtt_ms']:.0f} ms: allow a later --deadline-ms, or a nearer server."
    return "Open the device to see why: its decisions say what was expected."


def _named(rows: Iterable[dict[str, Any]], one: str, many: str) -> str:
    names = [str(row["name"]) for row in rows]
    shown = ", ".join(names[:MAX_NAMED])
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return f"{shown}{more} {one if len(names) == 1 else many}"
