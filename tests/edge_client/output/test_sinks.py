"""Sinks of results, and what happens when they cannot write."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from edge_client.output.sinks import CallbackSink, JsonLinesSink, ScoreFilter, SinkThread, name_of
from splitnet.errors import ConfigError
from tests.support.client_samples import NAMES, result


class ListSink:
    """Remembers frame ids."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.closed = 0

    def write(self, taken) -> None:
        self.seen.append(taken.frame.frame_id)

    def close(self) -> None:
        self.closed += 1


class FailingSink(ListSink):
    """Fails from the second result on."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, taken) -> None:
        super().write(taken)
        if len(self.seen) > 1:
            raise self.error


def feed(sinks, count: int = 4) -> SinkThread:
    """Run results through the sinks; all of their places must be released."""
    released = []
    thread = SinkThread(sinks)
    thread.start()
    for frame_id in range(1, count + 1):
        thread.put(result(frame_id), lambda: released.append(1))
    thread.close()
    assert len(released) == count
    return thread


def test_a_line_says_everything_about_a_frame(tmp_path):
    path = tmp_path / "detections.jsonl"
    sink = JsonLinesSink(path, NAMES)
    sink.write(result(3, end_to_end_ms=51.25, late=True))
    line = path.read_text()  # before the sink is closed
    assert json.loads(line) == {
        "frame_id": 3,
        "file": "3.png",
        "time_utc": "2026-11-30T14:02:40.250Z",
        "capture_time_s": 0.3,
        "position_s": 0.2,
        "mode": "split",
        "codec": "rans",
        "width": 4,
        "quality": 2,
        "bytes": 1500,
        "encode_ms": 5.5,
        "end_to_end_ms": 51.25,
        "late": True,
        "repeated": False,
        "predicted": False,
        "server": {"wait_ms": 1.0, "decode_ms": 0.25, "infer_ms": 12.0},
        "detections": [
            {"label": "car", "score": 0.8765, "box": [4.0, 5.0, 30.0, 40.0]},
            {"label": "99", "score": 0.5, "box": [10.0, 1.0, 20.0, 9.0]},
        ],
    }
    sink.close()


def test_a_place_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        JsonLinesSink(tmp_path / "missing" / "out.jsonl", NAMES)


def test_every_sink_gets_every_result_in_order_and_is_closed():
    sinks = [ListSink(), ListSink()]
    assert feed(sinks).failed == ()
    assert [sink.seen for sink in sinks] == [[1, 2, 3, 4]] * 2
    assert [sink.closed for sink in sinks] == [1, 1]


def test_a_callback_is_a_sink():
    seen = []
    feed([CallbackSink(lambda taken: seen.append(taken.frame.frame_id))])
    assert seen == [1, 2, 3, 4]


def test_a_failing_sink_is_disabled_with_one_warning_and_the_others_go_on(caplog):
    failing, healthy = FailingSink(OSError(28, "No space left on device")), ListSink()
    assert feed([failing, healthy]).failed == ("FailingSink",)
    assert failing.seen == [1, 2]
    assert failing.closed == 1
    assert healthy.seen == [1, 2, 3, 4]
    assert [record.message for record in caplog.records] == [
        "FailingSink: the rest is lost, the run goes on: [Errno 28] No space left on device"
    ]
    assert not caplog.records[0].exc_info


def test_a_bug_in_a_callback_is_shown_with_its_traceback(caplog):
    feed([FailingSink(KeyError("typo"))])
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_disables_the_file_only(caplog):
    healthy = ListSink()
    assert feed([JsonLinesSink(Path("/dev/full"), NAMES), healthy]).failed == ("--out",)
    assert healthy.seen == [1, 2, 3, 4]
    assert caplog.text.count("--out: the rest is lost") == 1


def test_slow_sinks_hold_back_places_instead_of_piling_up_results():
    entered, may_go = Event(), Event()

    def slow(taken) -> None:
        entered.set()
        may_go.wait(5)

    released = []
    thread = SinkThread([CallbackSink(slow)], max_backlog=2)
    thread.start()
    thread.put(result(1), lambda: released.append(1))
    entered.wait(5)
    for frame_id in (2, 3, 4, 5):
        thread.put(result(frame_id), lambda frame_id=frame_id: released.append(frame_id))
    assert released == [1, 2, 3]
    may_go.set()
    thread.close()
    assert released == [1, 2, 3, 4, 5]


def test_a_sink_that_cannot_be_closed_has_failed_too():
    class Unclosable(ListSink):
        option = "--thing"

        def close(self) -> None:
            super().close()
            raise OSError(28, "No space left on device")

    assert feed([Unclosable()]).failed == ("--thing",)


def test_objects_below_a_score_are_left_out_of_a_sink(tmp_path):
    seen = []
    wrapped = ScoreFilter(CallbackSink(seen.append), 0.6)
    feed([wrapped], 1)
    assert seen[0].detections.labels.tolist() == [2]
    with closing(ScoreFilter(JsonLinesSink(tmp_path / "x", NAMES), 0.6)) as filtered:
        assert name_of(filtered) == "--out"


def test_a_name_that_is_not_utf_8_is_text_in_the_line(tmp_path):
    sink = JsonLinesSink(tmp_path / "out.jsonl", NAMES)
    taken = result(3)
    sink.write(replace(taken, frame=replace(taken.frame, file="caf\udce9  b.jpg")))
    sink.write(replace(taken, frame=replace(taken.frame, file=None)))
    sink.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["caf\\xe9  b.jpg", None]
