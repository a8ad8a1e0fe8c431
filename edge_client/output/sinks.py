"""Sinks of results: a file of JSON lines, a function of the caller's; more in `annotation` and `trace`.

Sinks run in a thread of their own, so that a slow disk delays neither encoding nor acknowledgements.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread
from typing import Generic, Protocol, TypeVar

from edge_client.frames import Fate, FrameResult
from edge_client.output.detection_record import NamedClasses, detection_record
from splitnet.errors import ConfigError

logger = logging.getLogger(__name__)

MAX_BACKLOG = 8  # results that may wait for the sinks before the encoder has to

_Job = Callable[[], None]
_Output = TypeVar("_Output", "Sink", "Recorder")
_Told = TypeVar("_Told", bound="FrameResult | Fate", contravariant=True)


class Sink(Protocol):
    """Takes every result, in the order of their arrival, always from the same thread."""

    def write(self, result: FrameResult) -> None:
        """Take one result; an exception disables this sink and nothing else."""
        ...

    def close(self) -> None:
        """Finish what was written."""
        ...


class Recorder(Protocol):
    """Takes the fate of every captured frame; otherwise as a sink."""

    def write(self, fate: Fate) -> None:
        """Take one fate."""
        ...

    def close(self) -> None:
        """Finish what was written."""
        ...


class JsonLinesSink:
    """Writes one JSON object a line, flushed at once, so that a killed run loses nothing."""

    option = "--out"

    def __init__(self, path: Path, class_names: Sequence[str], further: NamedClasses = ()) -> None:
        """Take the file, the bundle's classes, and the names and classes of further bundles."""
        self._class_names = class_names
        self._further = further
        try:
            self._file = path.open("w", buffering=1, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error

    def write(self, result: FrameResult) -> None:
        """Write a line; raise OSError when the disk is full."""
        self._file.write(json.dumps(detection_record(result, self._class_names, self._further)) + "\n")

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


class ScoreFilter:
    """Lets a sink see only the objects from a score on."""

    def __init__(self, sink: Sink, min_score: float) -> None:
        self.option = name_of(sink)
        self._sink = sink
        self._min_score = min_score

    def write(self, result: FrameResult) -> None:
        """Pass a result on, with fewer objects."""
        further = tuple(found.from_score(self._min_score) for found in result.further)
        self._sink.write(replace(result, detections=result.detections.from_score(self._min_score), further=further))

    def close(self) -> None:
        """Finish what was written."""
        self._sink.close()


class _Taking(Protocol[_Told]):
    def write(self, told: _Told, /) -> None: ...

    def close(self) -> None: ...


class OfCamera(Generic[_Told]):
    """Lets a sink or a recorder see only the frames of one camera."""

    def __init__(self, output: _Taking[_Told], camera: str) -> None:
        self.option = name_of(output)
        self._output = output
        self._camera = camera

    def write(self, told: _Told) -> None:
        """Pass a result or a fate on if it is of this camera."""
        if told.frame.camera == self._camera:
            self._output.write(told)

    def close(self) -> None:
        """Finish what was written."""
        self._output.close()


class SinkThread:
    """Feeds all sinks and recorders from one thread. One that fails is disabled with one warning.

    Several cameras may share it: each attends, and the last one that closes it ends it.
    """

    def __init__(
        self, sinks: Sequence[Sink], recorders: Sequence[Recorder] = (), max_backlog: int = MAX_BACKLOG
    ) -> None:
        self._sinks = list(sinks)
        self._recorders = list(recorders)
        self._max_backlog = max_backlog
        self._failed: list[str] = []
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="sinks", daemon=True)
        self._cameras = 0

    @property
    def sinks(self) -> tuple[Sink, ...]:
        """Those that take results."""
        return tuple(self._sinks)

    def attend(self, camera: str, recorders: Sequence[Recorder] = ()) -> None:
        """Note a camera that will put results, before the start, and recorders of its frames."""
        self._cameras += 1
        self._recorders += [OfCamera(recorder, camera) for recorder in recorders]

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of those that were disabled."""
        return tuple(self._failed)

    def start(self) -> None:
        """Start taking results, unless another camera has."""
        if not self._thread.is_alive():
            self._thread.start()

    def put(self, result: FrameResult, release: Callable[[], None]) -> None:
        """Queue a result and call `release`: now, or once it is written if the sinks lag behind."""
        self._jobs.put(lambda: self._attempt(self._sinks, lambda sink: sink.write(result)))
        if self._jobs.qsize() <= self._max_backlog:
            release()
        else:
            self._jobs.put(release)

    def record(self, fate: Fate) -> None:
        """Queue a frame's fate for the recorders."""
        if self._recorders:
            self._jobs.put(lambda: self._attempt(self._recorders, lambda recorder: recorder.write(fate)))

    def close(self) -> None:
        """Write what is queued and, as the last camera, close all sinks; blocks until done."""
        self._cameras -= 1
        if self._cameras > 0:
            written = Event()
            self._jobs.put(written.set)
            written.wait()
            return
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
        self._attempt(self._sinks, lambda sink: sink.close())
        self._attempt(self._recorders, lambda recorder: recorder.close())

    def _attempt(self, outputs: list[_Output], action: Callable[[_Output], None]) -> None:
        for output in list(outputs):
            try:
                action(output)
            except Exception as error:
                outputs.remove(output)
                self._failed.append(name_of(output))
                _close_failed(output, error)


def name_of(output: object) -> str:
    """Return what a user calls a sink or a recorder: the option that made it, or the name of its class."""
    return str(getattr(output, "option", type(output).__name__))


def _close_failed(output: Sink | Recorder, error: Exception) -> None:
    expected = isinstance(error, OSError)  # a full disk needs no traceback, a bug in a callback does
    logger.warning("%s: the rest is lost, the run goes on: %s", name_of(output), error, exc_info=not expected)
    try:
        output.close()
    except Exception as second:
        logger.debug("%s could not be closed either: %s", name_of(output), second)
