"""What a run has done so far, and how to say it: in one line, as a summary, in JSON. Nothing here prints."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from edge_client.latency import LatencyHistogram, RecentWindow, percentile
from edge_client.result import FrameResult
from splitnet.operating_point import OperatingPoint

TABLE_HEADER = f"{'point':<12} {'frames':>7} {'KB/frame':>9} {'encode ms':>10} {'latency ms p50':>15} {'p95':>7}"


@dataclass
class PointStatistics:
    """The answered frames of one operating point."""

    payload_bytes: int = 0
    encode: LatencyHistogram = field(default_factory=LatencyHistogram)
    end_to_end: LatencyHistogram = field(default_factory=LatencyHistogram)

    def add(self, result: FrameResult) -> None:
        """Count an answered frame."""
        self.payload_bytes += len(result.encoded.payload)
        self.encode.add(result.encoded.encode_ms)
        self.end_to_end.add(result.end_to_end_ms)

    @property
    def frames(self) -> int:
        """The number of answered frames."""
        return self.end_to_end.count

    @property
    def kilobytes_mean(self) -> float:
        """The mean payload in KB (1000 bytes)."""
        return self.payload_bytes / self.frames / 1000 if self.frames else 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the figures as a JSON object."""
        return {
            "frames": self.frames,
            "kilobytes_mean": round(self.kilobytes_mean, 3),
            "encode_ms_p50": round(self.encode.percentile_ms(50), 2),
            "encode_ms_p95": round(self.encode.percentile_ms(95), 2),
            "end_to_end_ms_p50": round(self.end_to_end.percentile_ms(50), 2),
            "end_to_end_ms_p95": round(self.end_to_end.percentile_ms(95), 2),
            "end_to_end_ms_p99": round(self.end_to_end.percentile_ms(99), 2),
        }


class RunStatistics:
    """Counts what becomes of every frame. Constant memory; used from one thread.

    captured = overtaken + answered + lost + refused + those still under way.
    """

    def __init__(self, started: float) -> None:
        self.started = started
        self.captured = 0
        self.overtaken = 0  # by a newer frame, before encoding
        self.lost = 0  # encoded, but the link died before the answer
        self.late = 0  # answered after the deadline
        self.unreadable = 0  # pictures that the source passed over
        self.sessions = 0
        self.refused: Counter[str] = Counter()  # by kind of the server's error
        self.whole = PointStatistics()
        self.points: dict[OperatingPoint, PointStatistics] = {}
        self._recent_latency = RecentWindow()
        self._recent_bytes = RecentWindow()
        self._last_point: OperatingPoint | None = None

    def add_result(self, now: float, result: FrameResult) -> None:
        """Count an answered frame."""
        self.late += result.late
        self.whole.add(result)
        self.points.setdefault(result.encoded.point, PointStatistics()).add(result)
        self._recent_latency.add(now, result.end_to_end_ms)
        self._recent_bytes.add(now, len(result.encoded.payload))
        self._last_point = result.encoded.point

    @property
    def answered(self) -> int:
        """The number of frames with detections."""
        return self.whole.frames

    @property
    def dropped(self) -> int:
        """The number of captured frames that will never have detections."""
        return self.overtaken + self.lost + self.refused.total()

    def frames_per_s(self, now: float) -> float:
        """Return the answered frames a second, over the whole run."""
        return self.answered / (now - self.started) if now > self.started else 0.0

    def status_line(self, now: float) -> str:
        """Return one line about the last few seconds (drops and late frames: about the whole run)."""
        latencies = self._recent_latency.values(now)
        if not latencies:
            return f"no detections in the last seconds | answered {self.answered}, {self._drops()}"
        sizes = self._recent_bytes.values(now)
        p50, p95 = percentile(latencies, 50), percentile(latencies, 95)
        return (
            f"{self._recent_latency.rate_per_s(now):.1f} fps | {self._last_point} | "
            f"{sum(sizes) / len(sizes) / 1000:.1f} KB/frame | "
            f"latency p50 {p50:.0f} p95 {p95:.0f} ms | {self._drops()}"
        )

    def _drops(self) -> str:
        parts = [f"dropped {self.overtaken} overtaken, {self.lost} lost"]
        if self.refused:
            parts.append(f"{self.refused.total()} refused")
        return ", ".join(parts) + (f" | late {self.late}" if self.late else "")

    def to_json(self, now: float) -> dict[str, Any]:
        """Return the whole run as a JSON object."""
        return {
            "seconds": round(now - self.started, 2),
            "fps": round(self.frames_per_s(now), 2),
            "captured": self.captured,
            "answered": self.answered,
            "late": self.late,
            "overtaken": self.overtaken,
            "lost": self.lost,
            "refused": dict(self.refused),
            "unreadable": self.unreadable,
            "sessions": self.sessions,
            "total": self.whole.to_json(),
            "points": [{"point": str(point), **found.to_json()} for point, found in self._ordered_points()],
        }

    def summary(self, now: float) -> str:
        """Return the whole run as a few lines and a table by operating point."""
        latency = self.whole.end_to_end
        lines = [
            f"{self.answered} of {self.captured} frames answered in {now - self.started:.1f} s "
            f"({self.frames_per_s(now):.1f} fps), {self.whole.kilobytes_mean:.2f} KB/frame",
            f"latency p50 {latency.percentile_ms(50):.1f}, p95 {latency.percentile_ms(95):.1f}, "
            f"p99 {latency.percentile_ms(99):.1f} ms | {self._drops()}",
        ]
        lines += [f"refused by the server: {count} {kind}" for kind, count in sorted(self.refused.items())]
        if self.unreadable:
            lines.append(f"{self.unreadable} unreadable pictures passed over")
        if self.sessions > 1:
            lines.append(f"the link broke and was opened again {self.sessions - 1} times")
        return "\n".join(lines + self._table())

    def _table(self) -> list[str]:
        rows = [_row(point, found) for point, found in self._ordered_points()]
        return [TABLE_HEADER, *rows] if rows else []

    def _ordered_points(self) -> list[tuple[OperatingPoint, PointStatistics]]:
        return sorted(self.points.items(), key=lambda item: (item[0].codec.value, item[0].width, item[0].quality))


def _row(point: OperatingPoint, found: PointStatistics) -> str:
    encode_ms, latency = found.encode.percentile_ms(50), found.end_to_end
    return (
        f"{point!s:<12} {found.frames:>7} {found.kilobytes_mean:>9.2f} {encode_ms:>10.1f} "
        f"{latency.percentile_ms(50):>15.1f} {latency.percentile_ms(95):>7.1f}"
    )
