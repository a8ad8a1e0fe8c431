"""Ordinary images by HTTP, answered by the engine beside the devices' frames."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import cv2
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.engine import Engine
from cloud_server.http_detection import look_by
from splitnet.bundle import load_server
from splitnet.errors import BitstreamError, ShedError
from splitnet.http_detection.site import Look
from tests.support.fake_model import FakeRegistry


@pytest.fixture
async def look(tiny_bundle) -> AsyncIterator[Look]:
    engine: Engine[object] = Engine(max_batch_size=2, max_queue=4)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    model = BundleModel(load_server(tiny_bundle), torch.device("cpu"), max_image_pixels=400_000)
    model.prepare()
    yield look_by(engine, FakeRegistry(model), 400_000)
    engine.stop()


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png", ".bmp"])
async def test_an_image_of_any_kind_is_looked_at(look, photo, suffix):
    data = cv2.imencode(suffix, photo)[1].tobytes()
    looked = await look(data, "192.0.2.1")
    assert looked.by == "server"
    assert looked.detections.boxes.shape == (len(looked.detections), 4)


@pytest.mark.parametrize("data", [b"", b"nonsense", b"\xff\xd8\xff", b"RIFF1234WEBPVP8 "])
async def test_what_is_no_image_is_refused(look, data):
    with pytest.raises(BitstreamError):
        await look(data, "192.0.2.1")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
async def test_an_image_of_too_many_pixels_is_refused(look, photo, suffix):
    large = cv2.imencode(suffix, cv2.resize(photo, (1000, 800)))[1].tobytes()
    with pytest.raises((BitstreamError, ShedError), match="pixels"):
        await look(large, "192.0.2.1")
