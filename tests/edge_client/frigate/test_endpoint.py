"""The socket, with a desk that knows everything and a double of Frigate's plug-in."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
import zmq
import zmq.asyncio

from benchmarks.harness.frigate_plugin import FrigatePlugin
from edge_client.frigate.endpoint import FrigateEndpoint
from edge_client.requests.desk import Answer, AnsweredBy
from splitnet.detections import Detections
from splitnet.errors import ConfigError

TENSOR = np.full((1, 8, 16, 3), 7, np.uint8)
FOUND = Detections(np.array([[4, 2, 8, 6]], np.float32), np.array([0.75], np.float32), np.array([2], np.int32))


class KnowingDesk:
    """Finds the same object in every image, once its gate is open."""

    def __init__(self) -> None:
        self.images: list[np.ndarray] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def ask(self, image: np.ndarray) -> Answer:
        self.images.append(image)
        if image[0, 0, 0] == 0:  # black ones wait
            await self.gate.wait()
        return Answer(FOUND, AnsweredBy.SERVER, 12.5)


@asynccontextmanager
async def listening(desk: KnowingDesk) -> AsyncIterator[str]:
    endpoint = FrigateEndpoint(desk, "rgb", 0.0)
    address = endpoint.bind("tcp://127.0.0.1:*")
    serving = asyncio.create_task(endpoint.serve())
    try:
        yield address
    finally:
        serving.cancel()
        endpoint.close()


async def test_the_plug_in_gets_its_model_and_its_rows(tmp_path):
    desk = KnowingDesk()
    (tmp_path / "yolo.onnx").write_bytes(b"weights")

    def of_frigate(address: str) -> FrigatePlugin:
        plugin = FrigatePlugin(address)
        assert plugin.is_ready
        assert plugin.send_model(tmp_path / "yolo.onnx") == {"model_saved": True, "model_loaded": True}
        rows, _ = plugin.detect(TENSOR)
        assert rows[0].tolist() == [2, 0.75, 0.25, 0.25, 0.75, 0.5]
        assert plugin.about == {
            "shape": [20, 6],
            "dtype": "float32",
            "answered_by": "server",
            "pipeline_ms": 12.5,
        }
        plugin.close()
        return plugin

    async with listening(desk) as address:
        plugin = await asyncio.to_thread(of_frigate, address)
    assert plugin.restarts == 0
    assert [image.shape for image in desk.images] == [(8, 16, 3)]


async def test_a_bad_request_is_answered_and_the_next_one_is_served():
    def of_frigate(address: str) -> None:
        plugin = FrigatePlugin(address)
        header, rows = plugin.exchange(b'{"shape": [1, 8, 17, 3], "dtype": "uint8"}', TENSOR.tobytes())
        assert json.loads(header)["error"] == "a tensor [1, 8, 17, 3] of uint8 has 408 bytes, not 384"
        assert rows == bytes(480)
        assert plugin.exchange(b"nonsense")[1] == bytes(480)
        assert plugin.detect(TENSOR)[0][0, 1] == 0.75
        plugin.close()

    async with listening(KnowingDesk()) as address:
        await asyncio.to_thread(of_frigate, address)


async def test_a_second_client_does_not_wait_for_the_first():
    desk = KnowingDesk()
    desk.gate.clear()
    async with listening(desk) as address:
        waiting = asyncio.create_task(asyncio.to_thread(one_request, address, TENSOR * 0))
        answered = await asyncio.to_thread(one_request, address, TENSOR)
        assert answered[0, 1] == 0.75
        assert not waiting.done()
        desk.gate.set()
        assert (await waiting)[0, 1] == 0.75


def one_request(address: str, tensor: np.ndarray) -> np.ndarray:
    plugin = FrigatePlugin(address, timeout_ms=10_000)
    rows, _ = plugin.detect(tensor)
    plugin.close()
    return rows


async def test_a_client_that_has_gone_before_its_answer_harms_nobody():
    desk = KnowingDesk()
    desk.gate.clear()
    async with listening(desk) as address:
        await asyncio.to_thread(gone_at_once, address)
        while not desk.images:
            await asyncio.sleep(0)
        desk.gate.set()
        assert (await asyncio.to_thread(one_request, address, TENSOR))[0, 1] == 0.75


def gone_at_once(address: str) -> None:
    plugin = FrigatePlugin(address)
    header = json.dumps({"shape": list(TENSOR.shape), "dtype": "uint8"}).encode()
    plugin.socket.setsockopt(zmq.LINGER, 1000)
    plugin.socket.send_multipart([header, bytes(TENSOR.nbytes)])
    plugin.socket.close()
    plugin.context.term()


async def test_a_dealer_without_an_envelope_is_answered_too():
    async with listening(KnowingDesk()) as address:
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.connect(address)
            await dealer.send_multipart([b'{"model_request": true}'])
            assert await dealer.recv_multipart() == [b'{"model_available": true, "model_loaded": true}']


def test_an_address_that_is_taken_is_told():
    endpoint = FrigateEndpoint(KnowingDesk(), "rgb", 0.0)
    with pytest.raises(ConfigError, match=r"cannot listen on --listen tcp://192\.0\.2\.1:1 \("):
        endpoint.bind("tcp://192.0.2.1:1")
