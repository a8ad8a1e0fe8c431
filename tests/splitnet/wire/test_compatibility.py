"""Clients and servers of before: their messages mean what they meant, and what is new is refused by them or ignored."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from protos import split_inference_pb2 as pb
from splitnet import errors
from splitnet.messages import BundleDescription, Frame, InferRequest, OpenSession, SessionLimits, SessionOpened
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.wire.frames import frame_from_proto, frame_to_proto
from splitnet.wire.sessions import (
    infer_request_from_proto,
    infer_request_to_proto,
    reply_from_proto,
    reply_to_proto,
    request_from_proto,
    request_to_proto,
)

DIGEST = bytes(range(32)).hex()
FEATURES = Frame(7, 123_456, OperatingPoint(Codec.RANS, 4, 2), b"payload", 640, 480, deadline_ms=200)
CANVAS = Frame(8, 0, OperatingPoint(Codec.JPEG, 0, 50), b"jpeg", 416, 312)
OPENED = SessionOpened("coco-nano", DIGEST, "slimsplit 0.1.0")
DESCRIBED = replace(
    OPENED,
    bundle=BundleDescription(416, 16, ("person", "car"), 4, 11, 0.25, (Codec.RANS, Codec.ZSTD, Codec.JPEG, Codec.WEBP)),
    limits=SessionLimits(8, 1 << 20, 1 << 24),
)

# As version 0.1.0 wrote them, before whole images and the description of the bundle.
OPEN_BYTES = f"0a2e0801120863616d6572612d311a20{DIGEST}"
FEATURES_BYTES = "1220080710c0c4071a0608011004180222077061796c6f616428c80130800538e003"
CANVAS_BYTES = "121408081a040803183222046a70656730a00338b802"
INFER_BYTES = f"08011220{DIGEST}1a20{FEATURES_BYTES[4:]}"
OPENED_BYTES = f"0a4008011209636f636f2d6e616e6f1a20{DIGEST}220f736c696d73706c697420302e312e30"


@pytest.mark.parametrize(
    ("request_", "before"),
    [(OpenSession("camera-1", DIGEST), OPEN_BYTES), (FEATURES, FEATURES_BYTES), (CANVAS, CANVAS_BYTES)],
    ids=["opening", "features", "canvas"],
)
def test_requests_of_before_are_read_and_written_to_the_byte(request_, before):
    assert request_to_proto(request_).SerializeToString().hex() == before
    assert request_from_proto(pb.DetectRequest.FromString(bytes.fromhex(before))) == request_


def test_a_single_call_of_before_is_read_and_written_to_the_byte():
    request = InferRequest(DIGEST, FEATURES)
    assert infer_request_to_proto(request).SerializeToString().hex() == INFER_BYTES
    assert infer_request_from_proto(pb.InferRequest.FromString(bytes.fromhex(INFER_BYTES))) == request


def test_a_server_of_before_that_describes_nothing_is_understood():
    opened = reply_from_proto(pb.DetectReply.FromString(bytes.fromhex(OPENED_BYTES)))
    assert opened == OPENED and opened.bundle is None and opened.limits is None


def test_a_description_follows_what_a_client_of_before_reads():
    """A client of before skips the fields that it does not know."""
    now = reply_to_proto(DESCRIBED).opened.SerializeToString()
    assert now.startswith(reply_to_proto(OPENED).opened.SerializeToString())
    assert reply_from_proto(reply_to_proto(DESCRIBED)) == DESCRIBED


def test_a_server_of_before_answers_the_first_of_several_bundles_alone():
    opening = request_to_proto(OpenSession("camera-1", DIGEST, further_digests=("ff" * 32,)))
    assert opening.SerializeToString().hex()[4:].startswith(OPEN_BYTES[4:])  # what it reads is as before
    assert reply_from_proto(pb.DetectReply.FromString(bytes.fromhex(OPENED_BYTES))).further == ()


def test_a_whole_image_without_a_size_is_refused_by_a_server_of_before():
    whole = frame_to_proto(replace(CANVAS, frame_width=0, frame_height=0, whole_image=True))
    whole.ClearField("whole_image")  # which is what ignoring it comes to
    with pytest.raises(errors.ProtocolError, match="not 0x0"):
        frame_from_proto(whole)


def test_codecs_that_a_newer_server_takes_besides_are_passed_over():
    message = reply_to_proto(DESCRIBED)
    message.opened.bundle.codecs.append(99)
    assert reply_from_proto(message) == DESCRIBED


@pytest.mark.parametrize(
    "fields",
    [{"score_threshold": 1.5}, {"score_threshold": math.nan}, {"class_names": [""] * 10_001}],
    ids=["a score above 1", "a score that is none", "classes without end"],
)
def test_a_description_that_cannot_be_is_refused(fields):
    message = reply_to_proto(OPENED)
    message.opened.bundle.MergeFrom(pb.BundleDescription(**fields))
    with pytest.raises(errors.ProtocolError, match="bundle that cannot be"):
        reply_from_proto(message)
