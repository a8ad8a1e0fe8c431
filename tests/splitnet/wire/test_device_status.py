"""A device's status on the wire: the same at both ends, bounded, and fit to be shown whoever wrote it."""

from __future__ import annotations

import math

import pytest

from protos import split_inference_pb2 as pb
from splitnet.device_status import (
    MAX_DECISIONS,
    MAX_LOG_LINES,
    MAX_PREVIEW_BYTES,
    DeviceDecision,
    DeviceLogLine,
    DeviceStatus,
    FrameCounts,
)
from splitnet.errors import ProtocolError
from splitnet.wire.device_status import status_from_proto, status_to_proto

STATUS = DeviceStatus(
    "slimsplit 1.0",
    "Raspberry Pi 5",
    12.5,
    FrameCounts(100, 60, 20, 5, 10, 4),
    123_456,
    "w4 q5",
    200.0,
    81.5,
    140.25,
    1.5e6,
    True,
    22.5,
    0.5,
    61.0,
    (DeviceDecision(7, "w4 q5", "best in time", 90.5),),
    (DeviceLogLine(1_700_000_000_000, "warning", "no link"),),
    3,
    b"\xff\xd8\xff rest",
)


def test_a_status_is_the_same_at_both_ends():
    assert status_from_proto(status_to_proto(STATUS).status) == STATUS


def test_a_status_is_small():
    small = DeviceStatus("slimsplit 1.0", "Raspberry Pi 5", 12.5, FrameCounts(10**6, 10**6), 10**9, "w4 q5", 200.0)
    assert status_to_proto(small).ByteSize() < 100


@pytest.mark.parametrize(
    "change",
    [
        {"preview": b"\xff\xd8\xff" + bytes(MAX_PREVIEW_BYTES)},
        {"preview": b"<script>"},
        {"decisions": [pb.DeviceDecision()] * (MAX_DECISIONS + 1)},
        {"log": [pb.DeviceLogLine()] * (MAX_LOG_LINES + 1)},
        {"board": "x" * 40_000},
        {"capacity_bps": math.inf},
        {"run_s": math.nan},
        {"decisions": [pb.DeviceDecision(predicted_ms=math.nan)]},
    ],
    ids=["large preview", "no preview", "decisions", "lines", "long", "infinite", "nan", "nan in a decision"],
)
def test_what_is_too_large_or_no_number_is_refused(change):
    with pytest.raises(ProtocolError):
        status_from_proto(pb.DeviceStatus(**change))


def test_text_that_steers_a_terminal_or_holds_a_password_is_made_harmless():
    line = pb.DeviceLogLine(level="\x1b[2J", text="rtsp://me:secret@camera/1 \x1b]0;gone\x07\nnext" + "x" * 1000)
    read = status_from_proto(pb.DeviceStatus(board="Pi\x00\x1b", point="w4\r\nq5", log=[line]))
    assert read.board == "Pi\\x00\\x1b"
    assert read.point == "w4 q5"
    assert read.log[0].level == "\\x1b[2J"
    assert read.log[0].text.startswith("rtsp://***@camera/1 \\x1b]0;gone\\x07 next") and len(read.log[0].text) == 300
