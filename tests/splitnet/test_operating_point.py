"""Operating points: what they mean, how they are written, which of them are sent."""

from __future__ import annotations

import numpy as np
import pytest

from splitnet.codec.image_codec import compress_image
from splitnet.errors import ConfigError
from splitnet.messages import Frame
from splitnet.operating_point import LOCAL, SKIP, Codec, Mode, OperatingPoint, parse_point, parse_points
from splitnet.wire.frames import frame_to_proto


def test_every_codec_belongs_to_a_mode():
    assert {codec: codec.mode for codec in Codec} == {
        Codec.RANS: Mode.SPLIT,
        Codec.ZSTD: Mode.SPLIT,
        Codec.JPEG: Mode.IMAGE,
        Codec.WEBP: Mode.IMAGE,
        Codec.H264: Mode.IMAGE,
        Codec.LOCAL: Mode.LOCAL,
        Codec.SKIP: Mode.SKIP,
    }


@pytest.mark.parametrize(
    ("point", "text"),
    [
        (OperatingPoint(Codec.RANS, 4, 2), "w4 q2"),
        (OperatingPoint(Codec.ZSTD, 1, 0), "w1 q0 zstd"),
        (OperatingPoint(Codec.JPEG, 0, 30), "jpeg 30"),
        (LOCAL, "local"),
        (SKIP, "skip"),
    ],
)
def test_points_are_short_in_tables(point, text):
    assert str(point) == text


@pytest.mark.parametrize(
    ("codec", "width", "quality"),
    [
        (Codec.RANS, 0, 1),
        (Codec.RANS, 256, 1),
        (Codec.ZSTD, 1, -1),
        (Codec.JPEG, 1, 30),
        (Codec.WEBP, 0, 101),
        (Codec.LOCAL, 1, 0),
        (Codec.SKIP, 0, 1),
    ],
)
def test_fields_that_contradict_one_another_are_refused(codec, width, quality):
    with pytest.raises(ConfigError, match=f"{codec.mode.value} mode needs"):
        OperatingPoint(codec, width, quality)


def test_only_features_and_pictures_travel():
    assert [codec for codec in Codec if codec.is_sent] == [Codec.RANS, Codec.ZSTD, Codec.JPEG, Codec.WEBP, Codec.H264]
    assert not LOCAL.is_sent and not SKIP.is_sent


@pytest.mark.parametrize("point", [LOCAL, SKIP])
def test_the_wire_refuses_what_does_not_travel(point):
    with pytest.raises(ConfigError, match="never sent"):
        frame_to_proto(Frame(1, 0, point, b"x", 64, 48))


@pytest.mark.parametrize("point", [LOCAL, SKIP])
def test_no_payload_is_made_of_what_does_not_travel(point):
    with pytest.raises(ConfigError, match="codes no images"):
        compress_image(np.zeros((16, 16, 3), np.uint8), point.codec, 50)


@pytest.mark.parametrize("point", ["w4 q2", "w1 q0 zstd", "jpeg 30", "webp 0", "local", "skip"])
def test_points_are_written_as_they_are_read(point):
    assert str(parse_point(point)) == point


@pytest.mark.parametrize("text", ["", "w4", "w0 q0", "q2 w4", "jpeg", "jpeg 101", "png 5", "w4 q2 brotli"])
def test_what_is_no_point_is_refused(text):
    with pytest.raises(ConfigError):
        parse_point(text)


def test_a_schedule_is_a_list_of_points():
    points = (OperatingPoint(Codec.RANS, 4, 2), OperatingPoint(Codec.JPEG, 0, 30), LOCAL, SKIP)
    assert parse_points("w4 q2, jpeg 30, local, skip") == points
