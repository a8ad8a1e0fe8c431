"""When the device's H.264 stream goes on, and when it begins anew."""

from __future__ import annotations

import numpy as np

from edge_client.encoding.references import SentReferences
from edge_client.encoding.video_stream import VideoStream
from splitnet.codec.h264_payload import unpack

CANVAS = np.full((32, 48, 3), 90, np.uint8)


def numbers(stream: VideoStream, references: SentReferences | None, count: int) -> list[int]:
    return [unpack(stream.encode(CANVAS, 20, references)[0])[0].number for _ in range(count)]


def test_a_stream_goes_on_within_a_session_and_begins_anew_after_a_refusal_or_in_another():
    stream, references = VideoStream(), SentReferences()
    references.allow(4)
    assert numbers(stream, references, 3) == [0, 1, 2]
    references.forget()  # the server has refused a frame
    assert numbers(stream, references, 2) == [0, 1]
    references.allow(0)  # another session, even with a server that keeps no latents
    assert numbers(stream, references, 2) == [0, 1]


def test_whole_frames_are_all_keyframes():
    assert numbers(VideoStream(), None, 3) == [0, 0, 0]


def test_a_picture_names_the_frame_that_it_builds_on():
    stream, references = VideoStream(), SentReferences()
    builds = [stream.encode(CANVAS, 20, references, frame_id)[1] for frame_id in (7, 9, 12)]
    assert builds == [None, 7, 9]
