"""What the wire says of groups: there and back, hostile, and to peers of before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protos import split_inference_pb2 as pb
from splitnet.errors import PlaceTakenError, ProtocolError
from splitnet.messages import MAX_PARTS, BundleDescription, FrameDetections, GroupPlace, OpenSession
from splitnet.operating_point import Codec
from splitnet.wire.sessions import reply_from_proto, reply_to_proto, request_from_proto, request_to_proto
from splitnet.wire.statuses import status_of
from tests.splitnet.wire.test_compatibility import DESCRIBED, DIGEST, FEATURES

PLACE = GroupPlace("Hof 1", 2, 4, spare=True)
OPENING = OpenSession("cam", DIGEST, group=PLACE)


@pytest.mark.parametrize("request_", [OPENING, replace(FEATURES, group_stream=(1 << 64) - 1)])
def test_requests_of_a_group_come_back_as_they_were(request_):
    assert request_from_proto(request_to_proto(request_)) == request_


def test_the_place_that_a_device_has_comes_back_as_it_was():
    described = BundleDescription(416, 16, ("a",), 1, 3, 0.25, (Codec.RANS,), parts=4)
    opened = replace(DESCRIBED, group=PLACE, bundle=described)
    assert reply_from_proto(reply_to_proto(opened)) == opened


def test_parts_that_an_answer_had_come_back_as_they_were():
    message = pb.DetectReply(detections=pb.FrameDetections(frame_id=1, parts_used=[1, 3]))
    answer = reply_from_proto(message)
    assert isinstance(answer, FrameDetections) and answer.parts_used == (1, 3)
    assert list(reply_to_proto(answer).detections.parts_used) == [1, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"part": 0}, "part 0 of 4 cannot be"),
        ({"part": 5}, "part 5 of 4 cannot be"),
        ({"parts": MAX_PARTS + 1}, f"at most {MAX_PARTS}"),
        ({"name": ""}, "printable text of 1 to 64"),
        ({"name": "a" * 65}, "printable text of 1 to 64"),
        ({"name": "a\nb"}, "printable text"),
    ],
)
def test_places_that_cannot_be_are_refused(changes, message):
    place = pb.GroupPlace(**{"name": "yard", "part": 2, "parts": 4, **changes})
    opening = pb.OpenSession(protocol_version=1, bundle_digest=bytes.fromhex(DIGEST), group=place)
    with pytest.raises(ProtocolError, match=message):
        request_from_proto(pb.DetectRequest(open=opening))


def test_a_device_of_a_group_names_the_groups_bundle_alone():
    for changes in ({"bundle_digest": ""}, {"further_digests": ("cd" * 32,)}):
        with pytest.raises(ProtocolError, match="names the group's bundle, and no further ones"):
            request_from_proto(request_to_proto(replace(OPENING, **changes)))


def test_more_parts_than_there_can_be_are_refused():
    message = pb.DetectReply(detections=pb.FrameDetections(parts_used=range(MAX_PARTS + 1)))
    with pytest.raises(ProtocolError, match="answered by 65 parts"):
        reply_from_proto(message)


def test_messages_without_a_group_are_those_of_before():
    assert request_to_proto(FEATURES).SerializeToString().hex().startswith("1220")  # as test_compatibility has it
    assert not request_to_proto(OpenSession("cam", DIGEST)).open.HasField("group")


def test_a_part_that_another_device_makes_has_a_status_of_its_own():
    assert status_of(PlaceTakenError("taken")).name == "ALREADY_EXISTS"
