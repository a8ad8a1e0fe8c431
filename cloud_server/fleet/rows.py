"""What the page and the API say of a device, as JSON values."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from cloud_server.fleet.device import Device
from splitnet.text import printable


def row_of(device: Device, now: float) -> dict[str, Any]:
    """Return a line of the table: how the device is doing now. Figures that are not known are None."""
    reports = device.reports(now)
    rates = device.rates()
    frame_bytes, bits_per_s = device.traffic()
    row: dict[str, Any] = {
        "id": device.id,
        "name": printable(device.name),
        "host": device.host,
        "state": device.state(now),
        "seen_s_ago": round(now - device.last_seen, 1),
        "reports": reports,
        **{f"{name}_fps": round(rate, 2) for name, rate in rates._asdict().items()},
        "kb_per_frame": round(frame_bytes / 1000, 2),
        "kbps": round(bits_per_s / 1000, 1),
        "in_time": _in_time(rates),
        "bundle": printable(device.bundle),
        "digest": device.digest[:12],
        "last_error": None if device.last_error is None else device.last_error.text,
        "error_s_ago": None if device.last_error is None else round(now - device.last_error.at),
    }
    return row | (_own(device) if reports else _seen(device, now))


def _in_time(rates: tuple[float, ...]) -> float | None:
    """Return the share of the camera's frames whose detections were in time, None if there are none."""
    camera, answered, local, *_ = rates
    return round((answered + local) / camera, 3) if camera else None


def _own(device: Device) -> dict[str, Any]:
    status = device.status
    assert status is not None
    return {
        "point": status.point,
        "deadline_ms": round(status.deadline_ms) or None,
        "p50_ms": round(status.latency_p50_ms) or None,
        "p95_ms": round(status.latency_p95_ms) or None,
        "capacity_kbps": round(status.capacity_bps / 1000) or None,
        "capacity_is_bound": status.capacity_is_bound,
        "rtt_ms": round(status.rtt_ms, 1) or None,
        "cpu": round(status.cpu_share, 2),
        "temperature_c": round(status.temperature_c) or None,
        "software": status.software,
        "board": status.board,
        "preview": bool(device.preview),
    }


def _seen(device: Device, now: float) -> dict[str, Any]:
    """Return the same of a device that says nothing: times are the server's own."""
    status, times = device.status, device.server_times_ms(now)
    point = device.last_point
    return {
        "point": None if point is None else str(point),
        "deadline_ms": None,
        "p50_ms": _percentile(times, 0.5),
        "p95_ms": _percentile(times, 0.95),
        "capacity_kbps": None,
        "capacity_is_bound": False,
        "rtt_ms": None,
        "cpu": None,
        "temperature_c": None,
        "software": "" if status is None else status.software,
        "board": "" if status is None else status.board,
        "preview": False,
    }


def _percentile(times: Collection[float], share: float) -> int | None:
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))]) if ordered else None


def details_of(device: Device, now: float) -> dict[str, Any]:
    """Return all that is known of a device: its line, its history, its last decisions and its log."""
    return {
        **row_of(device, now),
        "history_fps": list(device.history),
        "frames": asdict(device.status.frames if device.status else device.seen),
        "bytes": device.seen_bytes,
        "decisions": [asdict(one) for one in device.decisions],
        "log": [asdict(one) for one in device.log],
        "left_out": device.left_out,
    }
