"""The mapping to protobuf: what goes in comes out, and what breaks the rules is refused."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from protos import split_inference_pb2 as pb
from splitnet import errors
from splitnet.detections import Detections
from splitnet.messages import (
    MAX_DETECTIONS,
    MAX_DEVICE_ID_CHARS,
    MAX_FRAME_SIDE,
    MAX_FURTHER,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    PROTOCOL_VERSION,
    Ack,
    BundleDescription,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    FurtherBundle,
    InferRequest,
    OpenSession,
    ServerTiming,
    SessionOpened,
)
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.wire.answers import detections_from_proto, detections_to_proto
from splitnet.wire.frames import frame_from_proto, frame_to_proto
from splitnet.wire.sessions import (
    infer_request_from_proto,
    infer_request_to_proto,
    reply_from_proto,
    reply_to_proto,
    request_from_proto,
    request_to_proto,
)
from splitnet.wire.statuses import STATUS_TABLE, error_of, status_of

DIGEST = bytes(range(32)).hex()
OTHER = bytes(range(1, 33)).hex()
FRAME = Frame(7, 123_456, OperatingPoint(Codec.RANS, 4, 2), b"payload", 640, 480, deadline_ms=200)
DETECTIONS = FrameDetections(
    frame_id=7,
    capture_time_us=123_456,
    detections=Detections(
        np.array([[1.5, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        np.array([0.75, 0.5], np.float32),
        np.array([0, 79], np.int32),
    ),
    timing=ServerTiming(0.5, 1.25, 20.0),
)

JPEG = pb.OperatingPoint(codec="CODEC_JPEG")

operating_points = st.one_of(
    st.builds(OperatingPoint, st.sampled_from([Codec.RANS, Codec.ZSTD]), st.integers(1, 255), st.integers(0, 255)),
    st.builds(OperatingPoint, st.sampled_from([Codec.JPEG, Codec.WEBP]), st.just(0), st.integers(0, 100)),
)
frames = st.builds(
    Frame,
    frame_id=st.integers(0, 2**64 - 1),
    capture_time_us=st.integers(0, 2**64 - 1),
    operating_point=operating_points,
    payload=st.binary(min_size=1, max_size=64),
    frame_width=st.integers(1, MAX_FRAME_SIDE),
    frame_height=st.integers(1, MAX_FRAME_SIDE),
    deadline_ms=st.integers(0, 3_600_000),
)
whole_images = st.builds(
    Frame,
    frame_id=st.integers(0, 2**64 - 1),
    capture_time_us=st.integers(0, 2**64 - 1),
    operating_point=st.builds(OperatingPoint, st.sampled_from([Codec.JPEG, Codec.WEBP]), st.just(0), st.just(0)),
    payload=st.binary(min_size=1, max_size=64),
    frame_width=st.just(0),
    frame_height=st.just(0),
    whole_image=st.just(True),
)


def through_bytes(message):
    return type(message).FromString(message.SerializeToString())


@given(frames | whole_images)
def test_every_valid_frame_survives_the_wire(frame):
    assert request_from_proto(through_bytes(request_to_proto(frame))) == frame


@pytest.mark.parametrize("digest", [DIGEST, ""], ids=["of a bundle", "of the default bundle"])
def test_an_opening_survives_the_wire(digest):
    opening = OpenSession("camera-1", digest)
    assert request_from_proto(through_bytes(request_to_proto(opening))) == opening


def test_the_name_of_a_camera_survives_the_wire_and_is_bounded():
    opening = OpenSession("board", DIGEST, camera="yard")
    assert request_from_proto(through_bytes(request_to_proto(opening))) == opening
    with pytest.raises(errors.ProtocolError, match="name of a camera has at most 32 characters"):
        request_from_proto(request_to_proto(OpenSession("board", DIGEST, camera="x" * 33)))


def test_further_bundles_survive_the_wire():
    opening = OpenSession("camera-1", DIGEST, further_digests=(OTHER, "ff" * 32))
    assert request_from_proto(through_bytes(request_to_proto(opening))) == opening
    described = BundleDescription(416, 16, ("car",), 4, 11, 0.25, (Codec.JPEG,))
    opened = SessionOpened("coco-nano", DIGEST, "s", further=(FurtherBundle("highway-nano", OTHER, described, True),))
    assert reply_from_proto(through_bytes(reply_to_proto(opened))) == opened


def test_what_further_bundles_find_survives_the_wire():
    found = replace(DETECTIONS, further=(Detections.empty(), DETECTIONS.detections))
    back = detections_from_proto(through_bytes(detections_to_proto(found)))
    assert [len(one) for one in back.further] == [0, len(DETECTIONS.detections)]
    np.testing.assert_array_equal(back.further[1].boxes, DETECTIONS.detections.boxes)


@pytest.mark.parametrize(
    ("further", "complaint"),
    [
        ([bytes(32)] * (MAX_FURTHER + 1), "at most 3 further bundles"),
        ([bytes(31)], "has 32 bytes, not 31"),
        ([b""], "has 32 bytes, not 0"),
        ([bytes.fromhex(DIGEST)], "the same bundle twice"),
        ([bytes(32), bytes(32)], "the same bundle twice"),
    ],
    ids=["too many", "a short digest", "no digest", "its own", "one twice"],
)
def test_further_bundles_out_of_bounds_are_refused(further, complaint):
    opening = pb.OpenSession(protocol_version=PROTOCOL_VERSION, bundle_digest=bytes.fromhex(DIGEST))
    opening.further_bundle_digests.extend(further)
    with pytest.raises(errors.ProtocolError, match=complaint):
        request_from_proto(pb.DetectRequest(open=opening))


def test_a_server_that_answers_by_more_bundles_than_can_be_is_refused():
    message = detections_to_proto(replace(DETECTIONS, further=(Detections.empty(),) * (MAX_FURTHER + 1)))
    with pytest.raises(errors.ProtocolError, match="answered by 4 further bundles"):
        detections_from_proto(message)
    opened = pb.SessionOpened(protocol_version=PROTOCOL_VERSION, bundle_digest=bytes.fromhex(DIGEST))
    opened.further.extend([pb.FurtherBundle(bundle_digest=bytes(32))] * (MAX_FURTHER + 1))
    with pytest.raises(errors.ProtocolError, match="4 further bundles"):
        reply_from_proto(pb.DetectReply(opened=opened))


@pytest.mark.parametrize(
    "reply",
    [
        SessionOpened("coco-nano", DIGEST, "slimsplit 0.1.0"),
        Ack(7, 3000, 5_000_000, 2),
        FrameError(7, 123_456, grpc.StatusCode.RESOURCE_EXHAUSTED, "the server is busy"),
        Draining(5000),
    ],
    ids=lambda reply: type(reply).__name__,
)
def test_a_reply_survives_the_wire(reply):
    assert reply_from_proto(through_bytes(reply_to_proto(reply))) == reply


def test_detections_survive_the_wire_to_the_bit():
    back = reply_from_proto(through_bytes(reply_to_proto(DETECTIONS)))
    assert isinstance(back, FrameDetections)
    assert replace(back, detections=DETECTIONS.detections) == DETECTIONS
    for name, dtype in (("boxes", np.float32), ("scores", np.float32), ("labels", np.int32)):
        array = getattr(back.detections, name)
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, getattr(DETECTIONS.detections, name))


def test_a_frame_without_objects_survives_the_wire():
    empty = replace(DETECTIONS, detections=Detections.empty())
    back = detections_from_proto(through_bytes(detections_to_proto(empty)))
    assert len(back.detections) == 0 and back.detections.boxes.shape == (0, 4)


def test_a_request_without_a_session_survives_the_wire():
    request = InferRequest(DIGEST, FRAME)
    assert infer_request_from_proto(through_bytes(infer_request_to_proto(request))) == request


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"payload": b""}, "payload has 1 to"),
        ({"payload": bytes(MAX_PAYLOAD_BYTES + 1)}, "payload has 1 to"),
        ({"frame_width": 0}, "pixels a side, not 0x480"),
        ({"frame_height": MAX_FRAME_SIDE + 1}, "pixels a side"),
        ({"whole_image": True}, "a whole image is JPEG or WebP, not w4 q2"),
        ({"whole_image": True, "operating_point": JPEG, "frame_width": 0}, "not 0x480"),
        ({"deadline_ms": 2**32 - 1}, "deadline is at most"),
        ({"operating_point": pb.OperatingPoint()}, "codec 0 is unknown"),
        ({"operating_point": pb.OperatingPoint(codec="CODEC_RANS", width=0)}, "width 1..255"),
        ({"operating_point": pb.OperatingPoint(codec="CODEC_RANS", width=1, quality=2**31)}, "quality 0..255"),
        ({"operating_point": pb.OperatingPoint(codec="CODEC_JPEG", width=1)}, "image mode needs width 0"),
        ({"operating_point": pb.OperatingPoint(codec="CODEC_WEBP", quality=101)}, "quality 0..100"),
    ],
)
def test_a_frame_out_of_bounds_is_refused(change, complaint):
    good = frame_to_proto(FRAME)
    fields = {field.name: getattr(good, field.name) for field in good.DESCRIPTOR.fields} | change
    with pytest.raises(errors.ProtocolError, match=complaint):
        frame_from_proto(pb.Frame(**fields))


def test_a_codec_from_the_future_is_refused():
    message = frame_to_proto(FRAME)
    future = pb.OperatingPoint.FromString(b"\x08\x63\x10\x01")  # codec 99, width 1
    message.operating_point.CopyFrom(future)
    with pytest.raises(errors.ProtocolError, match="codec 99 is unknown here"):
        frame_from_proto(message)


def test_the_largest_payload_fits_into_a_message():
    frame = replace(FRAME, payload=bytes(MAX_PAYLOAD_BYTES))
    assert request_to_proto(frame).ByteSize() < MAX_MESSAGE_BYTES


def test_an_empty_request_is_refused():
    with pytest.raises(errors.ProtocolError, match="opening or a frame"):
        request_from_proto(pb.DetectRequest())


def test_an_empty_reply_is_refused():
    with pytest.raises(errors.ProtocolError, match="update this client"):
        reply_from_proto(pb.DetectReply())


@pytest.mark.parametrize("digest", ["00", "00" * 33])
def test_a_digest_of_another_length_is_refused(digest):
    with pytest.raises(errors.ProtocolError, match="digest has 32 bytes"):
        request_from_proto(request_to_proto(OpenSession("camera", digest)))


def test_a_device_id_without_end_is_refused():
    opening = OpenSession("x" * (MAX_DEVICE_ID_CHARS + 1), DIGEST)
    with pytest.raises(errors.ProtocolError, match="device id"):
        request_from_proto(request_to_proto(opening))


@pytest.mark.parametrize("kind", ["open", "opened", "infer"])
def test_another_protocol_version_is_refused_before_anything_else_is_read(kind):
    convert = {
        "open": lambda: request_from_proto(
            pb.DetectRequest(open=pb.OpenSession(protocol_version=PROTOCOL_VERSION + 1))
        ),
        "opened": lambda: reply_from_proto(
            pb.DetectReply(opened=pb.SessionOpened(protocol_version=PROTOCOL_VERSION + 1))
        ),
        "infer": lambda: infer_request_from_proto(pb.InferRequest(protocol_version=PROTOCOL_VERSION + 1)),
    }[kind]
    with pytest.raises(errors.ProtocolVersionError, match="protocol version 2, this side 1"):
        convert()


@pytest.mark.parametrize(
    "lists",
    [
        {"boxes": [1.0, 2.0, 3.0], "scores": [0.5], "labels": [1]},
        {"boxes": [1.0] * 4, "scores": [0.5], "labels": []},
        {"boxes": [1.0] * 4, "scores": [], "labels": []},
        {
            "boxes": [1.0] * 4 * (MAX_DETECTIONS + 1),
            "scores": [0.5] * (MAX_DETECTIONS + 1),
            "labels": [0] * (MAX_DETECTIONS + 1),
        },
    ],
)
def test_detections_that_do_not_fit_together_are_refused(lists):
    with pytest.raises(errors.ProtocolError, match="do not fit together"):
        detections_from_proto(pb.FrameDetections(**lists))


PLAUSIBLE = {"boxes": [0, 0, 9, 9], "scores": [0.5], "labels": [3]}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["boxes", "scores", "wait_ms", "decode_ms", "infer_ms"])
def test_detections_with_numbers_that_are_none_are_refused(field, odd):
    message = pb.FrameDetections(**PLAUSIBLE)
    detections_from_proto(message)
    if field in PLAUSIBLE:
        getattr(message, field)[0] = odd
    else:
        setattr(message.timing, field, odd)
    with pytest.raises(errors.ProtocolError, match="numbers that are none"):
        detections_from_proto(message)


def test_boxes_beyond_any_frame_are_refused():
    with pytest.raises(errors.ProtocolError, match="beyond any frame"):
        detections_from_proto(pb.FrameDetections(**{**PLAUSIBLE, "boxes": [0, 0, 1e30, 9]}))


@given(st.binary(max_size=200))
def test_random_bytes_never_do_more_than_raise_a_protocol_error(data):
    for message, convert in (
        (pb.DetectRequest, request_from_proto),
        (pb.DetectReply, reply_from_proto),
        (pb.InferRequest, infer_request_from_proto),
    ):
        with suppress(DecodeError, errors.ProtocolError):  # gRPC itself refuses the former
            convert(message.FromString(data))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.BitstreamError, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.ProtocolError, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.ConfigError, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.ProtocolVersionError, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.BundleMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.DigestMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.ShedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DeadlineExceededError, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.DrainingError, grpc.StatusCode.UNAVAILABLE),
        (errors.SplitError, grpc.StatusCode.INTERNAL),
    ],
)
def test_every_error_has_its_status(error, status):
    assert status_of(error("why")) is status


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, errors.BitstreamError),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.BundleMismatchError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.ShedError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
        (grpc.StatusCode.UNAVAILABLE, errors.DrainingError),
        (grpc.StatusCode.INTERNAL, errors.SplitError),
        (grpc.StatusCode.DATA_LOSS, errors.SplitError),
    ],
)
def test_every_status_has_its_error(status, error):
    assert type(error_of(status, "why")) is error


def test_every_status_of_the_table_can_be_said_about_a_frame():
    for _, status in STATUS_TABLE:
        error = FrameError(1, 2, status, "why")
        assert reply_from_proto(reply_to_proto(error)) == error
