"""Messages of delivery from strangers: what is taken, and what is refused before anything is opened."""

from __future__ import annotations

import pytest

from protos import model_delivery_pb2 as pb
from splitnet import delivery_wire as wire
from splitnet.errors import ProtocolError
from splitnet.updates.delivery import Chunk, DeviceState, FetchRequest, Offer, Phase
from tests.support.artefacts import digest

STATE = DeviceState("camera", ("torch",), digest("x"), 3, Phase.TRIAL, "4-tiny.torch.bundle", "why", 5, 9)


def test_every_message_comes_back_as_it_went():
    assert wire.state_from_proto(wire.state_to_proto(STATE)) == STATE
    for offer in (Offer(), Offer(7, False, "tiny", True)):
        assert wire.offer_from_proto(wire.offer_to_proto(offer)) == offer
    for request in (FetchRequest("2.root.json", 5, 100), FetchRequest(digest("x"), 0, 1)):
        assert wire.fetch_request_from_proto(wire.fetch_request_to_proto(request)) == request
    for chunk in (Chunk(b"abc"), Chunk(b"", True)):
        assert wire.chunk_from_proto(wire.chunk_to_proto(chunk)) == chunk


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../online/online.pem",
        "/etc/passwd",
        "root.json/../x",
        "0.root.json",
        "x.json",
        "root.json\n",
        "2.keys.json",
    ],
)
def test_names_that_are_paths_are_refused(name):
    with pytest.raises(ProtocolError, match="named by its SHA-256"):
        wire.fetch_request_from_proto(pb.FetchRequest(metadata=name, max_bytes=10))


@pytest.mark.parametrize("request_", [pb.FetchRequest(sha256=b"short", max_bytes=1), pb.FetchRequest(max_bytes=1)])
def test_digests_that_are_none_are_refused(request_):
    with pytest.raises(ProtocolError):
        wire.fetch_request_from_proto(request_)


@pytest.mark.parametrize("size", [0, 65_537, 2**32 - 1])
def test_pieces_without_bounds_are_refused(size):
    with pytest.raises(ProtocolError, match="a piece has"):
        wire.fetch_request_from_proto(pb.FetchRequest(metadata="root.json", max_bytes=size))


@pytest.mark.parametrize(
    "changed",
    [
        {"protocol_version": 2},
        {"bundle_digest": b"x"},
        {"device_id": "x" * 129},
        {"device_id": "\x1b[2J"},
        {"version": 1 << 60},
        {"phase": 77},
        {"forms": []},
        {"forms": ["tflite"]},
        {"forms": ["torch"] * 5},
    ],
)
def test_states_that_are_none_are_refused(changed):
    message = wire.state_to_proto(STATE)
    for name, value in changed.items():
        if isinstance(value, list):
            message.ClearField(name)
            message.forms.extend(value)
        else:
            setattr(message, name, value)
    with pytest.raises(ProtocolError):
        wire.state_from_proto(message)


def test_text_of_a_device_is_fit_to_print_and_bounded():
    message = wire.state_to_proto(STATE)
    message.reason = "\x1b[2J" + "x" * 5000
    found = wire.state_from_proto(message).reason
    assert found.isprintable() and len(found) <= 300
