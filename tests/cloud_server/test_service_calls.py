"""Single frames without a session."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest

from splitnet.messages import FrameDetections, InferRequest
from splitnet.wire.answers import detections_from_proto
from splitnet.wire.sessions import infer_request_to_proto
from tests.support.fake_model import BAD, IMAGE_POINT, frame
from tests.support.listening_service import DIGEST, OTHER_DIGEST, close_gate, until


async def test_one_frame_is_answered_without_a_session(daemon):
    async with daemon.client() as client:
        reply = await client.Infer(infer_request_to_proto(InferRequest(DIGEST, frame(3, b"12345"))))
    answer = detections_from_proto(reply.detections)
    assert (answer.frame_id, answer.detections.labels.tolist()) == (3, [5])


async def test_an_image_is_answered_without_a_session_and_without_a_bundle(daemon):
    async with daemon.client() as client:
        reply = await client.Infer(infer_request_to_proto(InferRequest("", frame(3, b"12345", IMAGE_POINT))))
    assert detections_from_proto(reply.detections).detections.labels.tolist() == [5]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (InferRequest(DIGEST, frame(1, BAD)), grpc.StatusCode.INVALID_ARGUMENT),
        (InferRequest(DIGEST, frame(1, b"")), grpc.StatusCode.INVALID_ARGUMENT),
        (InferRequest(OTHER_DIGEST, frame(1)), grpc.StatusCode.FAILED_PRECONDITION),
        (InferRequest(DIGEST, frame(1), protocol_version=9), grpc.StatusCode.FAILED_PRECONDITION),
        (InferRequest("", frame(1)), grpc.StatusCode.INVALID_ARGUMENT),
        (InferRequest(DIGEST, replace(frame(1), layers=2)), grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["undecodable", "empty", "other bundle", "other version", "features of no bundle", "one layer of two"],
)
async def test_what_is_wrong_with_a_single_call_is_its_status(daemon, request_, status):
    async with daemon.client() as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.Infer(infer_request_to_proto(request_))
    assert caught.value.code() is status


async def test_a_single_call_given_up_by_its_client_is_forgotten(daemon):
    async with daemon.session() as stream, daemon.client() as client:
        await close_gate(daemon, stream)
        call = client.Infer(infer_request_to_proto(InferRequest(DIGEST, frame(1, b"orphan"))))
        await until(lambda: daemon.engine.depth == 1)
        call.cancel()
        await until(lambda: daemon.engine.depth == 0)
        daemon.model.gate.set()
        assert isinstance(await stream.next(), FrameDetections)
    assert daemon.model.batches == [[b"x"]]
