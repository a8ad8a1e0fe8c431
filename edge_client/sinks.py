"""Where results go: a file of JSON lines, a function of the caller's; more in `annotation`.

Sinks run in a thread of their own, so that a slow disk delays neither encoding nor acknowledgements.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Protocol

from edge_client.result import FrameResult
from splitnet.errors import ConfigError

logger = logging.getLogger(__name__)

MAX_BACKLOG = 8  # results that may wait for the sinks before the encoder has to

_Job = tuple[FrameResult, Callable[[], None] | None]


class Sink(Protocol):
    """Takes every result, in the order of their arrival, always from the same thread."""

    def write(self, result: FrameResult) -> None:
        """Take one result; an exception disables this sink and nothing else."""
        ...

    def close(self) -> None:
        """Finish what was written."""
        ...


class JsonLinesSink:
    """Writes one JSON object a line, flushed at once, so that a killed run loses nothing."""

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._class_names = class_names
        try:
            self._file = path.open("w", buffering=1, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error

    def write(self, result: FrameResult) -> None:
        """Write a line; raise OSError when the disk is full."""
        self._file.write(json.dumps(result.to_record(self._class_names)) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CallbackSink:
    """Hands every result to a function."""

    def __init__(self, function: Callable[[FrameResult], None]) -> None:
        self._function = function

    def write(self, result: FrameResult) -> None:
        """Call the function."""
        self._function(result)

    def close(self) -> None:
        """Do nothing: the function has no end."""


class SinkThread:
    """Feeds all sinks from one thread. A sink that fails is disabled with one warning."""

    def __init__(self, sinks: Sequence[Sink], max_backlog: int = MAX_BACKLOG) -> None:
        self._sinks = list(sinks)
        self._max_backlog = max_backlog
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="sinks", daemon=True)

    def start(self) -> None:
        """Start taking results."""
        self._thread.start()

    def put(self, result: FrameResult, release: Callable[[], None]) -> None:
        """Queue a result and call `release`: now, or once it is written if the sinks lag behind."""
        if self._jobs.qsize() < self._max_backlog:
            self._jobs.put((result, None))
            release()
        else:
            self._jobs.put((result, release))

    def close(self) -> None:
        """Write what is queued and close all sinks; blocks until done."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, release = job
            self._attempt(lambda sink, result=result: sink.write(result))  # type: ignore[misc]
            if release is not None:
                release()
        self._attempt(lambda sink: sink.close())

    def _attempt(self, action: Callable[[Sink], None]) -> None:
        for sink in list(self._sinks):
            try:
                action(sink)
            except Exception as error:
                self._disable(sink, error)

    def _disable(self, sink: Sink, error: Exception) -> None:
        self._sinks.remove(sink)
        expected = isinstance(error, OSError)  # a full disk needs no traceback, a bug in a callback does
        name = type(sink).__name__
        logger.warning("%s disabled, the run goes on: %s", name, error, exc_info=not expected)
        try:
            sink.close()
        except Exception as second:
            logger.debug("%s could not be closed either: %s", name, second)
