"""What a device has to tell of itself: decisions, lines of its log and, if allowed, its latest image. Bounded."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock

import cv2

from edge_client.camera_name import CAMERA
from edge_client.frames import Fate, FrameResult
from edge_client.output.drawing import annotated
from splitnet.device_status import (
    MAX_DECISIONS,
    MAX_LOG_LINES,
    MAX_PREVIEW_BYTES,
    MAX_TEXT_CHARS,
    DeviceDecision,
    DeviceLogLine,
)
from splitnet.text import printable, without_secrets

DECISION_BYTES = 24  # of a message, besides its text
LINE_BYTES = 24
PREVIEW_SIDE = 320  # pixels of the longer side
PREVIEW_QUALITY = 40


class Journal:
    """Remembers what is new until it is taken. A recorder (`sinks.Recorder`); from any thread."""

    option = "the status of this device"

    def __init__(self, class_names: Sequence[str] = (), has_preview: bool = False) -> None:
        """Take the names of what is found, and whether the latest image may be shown."""
        self._class_names = class_names
        self._has_preview = has_preview
        self._lock = Lock()
        self._decisions: deque[DeviceDecision] = deque()
        self._lines: deque[DeviceLogLine] = deque()
        self._left_out = 0
        self._latest: FrameResult | None = None
        self._last: tuple[str, str] | None = None

    def write(self, fate: Fate) -> None:
        """Note a frame's decision where it differs from the one before."""
        if self._has_preview and fate.result is not None:
            self._latest = fate.result
        if fate.chosen is None:
            return
        decision = fate.chosen.decision
        point, reason = str(decision.point), printable(decision.reason, MAX_TEXT_CHARS)
        if (point, reason) == self._last:
            return
        self._last = point, reason
        predicted_ms = 0.0 if decision.predicted is None else decision.predicted.total_ms
        with self._lock:
            self._left_out += _add(
                self._decisions, DeviceDecision(fate.frame.frame_id, point, reason, predicted_ms), MAX_DECISIONS
            )

    def log(self, line: DeviceLogLine) -> None:
        """Note a line of the log."""
        with self._lock:
            self._left_out += _add(self._lines, line, MAX_LOG_LINES)

    def close(self) -> None:
        """Do nothing: what is left is told, or not."""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note the lines of this process's log while in this block."""
        handler, root = JournalHandler(self), logging.getLogger()
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)

    def take(self, budget_bytes: float) -> tuple[tuple[DeviceDecision, ...], tuple[DeviceLogLine, ...], int]:
        """Return what is new and fits, lines first, and how much was lost before; the rest waits."""
        with self._lock:
            lines: list[DeviceLogLine] = []
            decisions: list[DeviceDecision] = []
            while self._lines and (budget_bytes := budget_bytes - LINE_BYTES - _size(self._lines[0].text)) >= 0:
                lines.append(self._lines.popleft())
            while (
                self._decisions
                and (budget_bytes := budget_bytes - DECISION_BYTES - _size(self._decisions[0].reason)) >= 0
            ):
                decisions.append(self._decisions.popleft())
            left_out, self._left_out = self._left_out, 0
        return tuple(decisions), tuple(lines), left_out

    def preview(self) -> bytes:
        """Return the latest image with its boxes as a small JPEG; nothing if none is new, or it is not allowed."""
        latest, self._latest = self._latest, None
        if latest is None:
            return b""
        image = annotated(latest, self._class_names)
        scale = min(1.0, PREVIEW_SIDE / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        _, encoded = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, PREVIEW_QUALITY])
        data: bytes = encoded.tobytes()
        return data if len(data) <= MAX_PREVIEW_BYTES else b""


class JournalHandler(logging.Handler):
    """Gives lines of the log to a journal."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal."""
        super().__init__(logging.INFO)
        self._journal = journal
        self._camera = CAMERA.get()

    def emit(self, record: logging.LogRecord) -> None:
        """Note a record, without secrets and fit to be shown, unless it is another camera's."""
        if CAMERA.get() not in ("", self._camera):
            return
        text = printable(without_secrets(record.getMessage()), MAX_TEXT_CHARS)
        self._journal.log(DeviceLogLine(round(record.created * 1000), record.levelname.lower(), text))


def _add(entries: deque[DeviceDecision] | deque[DeviceLogLine], entry: object, most: int) -> int:
    """Add an entry; returns how many of the oldest had to go for it."""
    entries.append(entry)  # type: ignore[arg-type]
    if len(entries) <= most:
        return 0
    entries.popleft()
    return 1


def _size(text: str) -> int:
    return len(text.encode("utf-8", "replace"))
