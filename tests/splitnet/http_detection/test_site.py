"""The HTTP endpoint with a real client: forms as DeepStack's clients send them, and forms as nobody should."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import numpy as np
import pytest

from splitnet.detections import Detections
from splitnet.errors import BitstreamError, ListenError, ShedError
from splitnet.http_detection import site as site_module
from splitnet.http_detection.predictions import predictions
from splitnet.http_detection.site import MAX_AT_ONCE, DetectionSite, Looked, listening

FOUND = Detections(
    np.array([[0.4, 1.6, 30, 40], [5, 5, 9, 9]], np.float32),
    np.array([0.5, 0.87654], np.float32),
    np.array([0, 7], np.int32),
)
CAT = {"label": "7", "confidence": 0.8765, "x_min": 5, "y_min": 5, "x_max": 9, "y_max": 9}
PERSON = {"label": "person", "confidence": 0.5, "x_min": 0, "y_min": 2, "x_max": 30, "y_max": 40}
DETECTION = "/v1/vision/detection"


class Looker:
    """Finds the same in every image, or raises."""

    def __init__(self) -> None:
        self.images: list[bytes] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def look(self, image: bytes, address: str) -> Looked:
        self.images.append(image)
        assert address == "127.0.0.1"
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Looked(FOUND, "server")


@asynccontextmanager
async def serving(looker: Looker, key: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    site = DetectionSite(looker.look, lambda: ("person",), "coco-plus", key)
    async with (
        listening(site, "--http", "127.0.0.1", 0) as address,
        aiohttp.ClientSession(f"http://{address}") as client,
    ):
        yield client


def form(**fields: Any) -> aiohttp.FormData:
    data = aiohttp.FormData()
    for name, value in fields.items():
        data.add_field(name, value, filename="image.jpg" if isinstance(value, bytes) else None)
    return data


async def post(client: aiohttp.ClientSession, data: Any, path: str = DETECTION, **more: Any) -> tuple[int, Any]:
    async with client.post(path, data=data, **more) as answer:
        return answer.status, json.loads(await answer.read())


def test_predictions_are_whole_pixels_best_first():
    assert predictions(FOUND, ("person",), 0.4) == [CAT, PERSON]
    assert predictions(FOUND, ("person",), 0.6) == [CAT]


async def test_an_image_in_a_form_is_answered_as_deepstack_does():
    looker = Looker()
    async with serving(looker) as client:
        status, answer = await post(client, form(image=b"jpeg", api_key="", min_confidence="0.3"))
    assert (status, answer["success"], answer["code"]) == (200, True, 200)
    assert answer["predictions"] == [CAT, PERSON]
    assert (answer["count"], answer["message"], answer["executionProvider"]) == (2, "found 7, person", "server")
    assert looker.images == [b"jpeg"]


async def test_a_plain_body_is_an_image_too():
    looker = Looker()
    async with serving(looker) as client:
        status, answer = await post(client, b"jpeg", headers={"Content-Type": "image/jpeg"})
    assert (status, answer["count"], looker.images) == (200, 2, [b"jpeg"])


async def test_the_bundle_is_listed_and_asked_by_its_name():
    async with serving(Looker()) as client:
        assert (await post(client, b"", "/v1/vision/custom/list"))[1]["models"] == ["coco-plus"]
        assert (await post(client, form(image=b"x"), "/v1/vision/custom/coco-plus"))[0] == 200
        assert (await post(client, form(image=b"x"), "/v1/vision/custom/faces"))[0] == 404
        async with client.get("/v1/status/ping") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(
    ("data", "headers", "status", "message"),
    [
        (b"", {"Content-Type": "image/jpeg"}, 400, "no file called image"),
        (form(other="x"), {}, 400, "no file called image"),
        (form(image=b"x", min_confidence="much"), {}, 400, "min_confidence"),
        (form(image=b"x", min_confidence="nan"), {}, 400, "min_confidence"),
        (form(image=b"x", **{f"f{n}": "x" for n in range(17)}), {}, 400, "at most 16 fields"),
        (form(image=b"x", note="x" * 5000), {}, 413, "larger than 4096"),
        (form(image=bytes(2000)), {}, 413, "larger than 1000"),
        (bytes(2000), {"Content-Type": "image/jpeg"}, 413, "larger than 1000"),
        (b"no form", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "not a form"),
        (b"no form", {"Content-Type": "multipart/form-data"}, 400, "not a form"),
    ],
)
async def test_a_bad_request_is_told_what_is_wrong(data, headers, status, message, monkeypatch):
    monkeypatch.setattr(site_module, "MAX_IMAGE_BYTES", 1000)
    looker = Looker()
    async with serving(looker) as client:
        found, answer = await post(client, data, headers=headers)
        assert (found, answer["success"]) == (status, False)
        assert message in answer["error"]
        assert (await post(client, form(image=b"x")))[0] == 200


async def test_a_body_that_announces_too_much_is_refused_before_it_is_read():
    async with serving(Looker()) as client:
        status, answer = await post(
            client, io.BytesIO(bytes((16 << 20) + (1 << 17))), headers={"Content-Type": "image/jpeg"}
        )
    assert (status, answer["error"]) == (413, "images of up to 16 MB are taken")


@pytest.mark.parametrize(
    ("error", "status"), [(BitstreamError("it is damaged"), 400), (ShedError("busy"), 503), (KeyError("bug"), 500)]
)
async def test_what_goes_wrong_behind_it_is_told_without_secrets_of_the_inside(error, status):
    looker = Looker()
    looker.error = error
    async with serving(looker) as client:
        found, answer = await post(client, form(image=b"x"))
    assert (found, answer["success"]) == (status, False)
    assert "bug" not in answer["error"]


async def test_a_key_is_asked_for():
    async with serving(Looker(), "open sesame") as client:
        assert (await post(client, form(image=b"x")))[0] == 401
        assert (await post(client, form(image=b"x", api_key="open")))[0] == 401
        assert (await post(client, form(image=b"x", api_key="open sesame")))[0] == 200


async def test_of_too_many_at_once_some_are_refused():
    looker = Looker()
    looker.gate = asyncio.Event()
    async with serving(looker) as client:
        waiting = [asyncio.create_task(post(client, form(image=b"x"))) for _ in range(MAX_AT_ONCE)]
        while len(looker.images) < MAX_AT_ONCE:
            await asyncio.sleep(0)
        status, answer = await post(client, form(image=b"x"))
        assert (status, answer["error"]) == (503, "busy: send fewer images at once")
        looker.gate.set()
        assert {status for status, _ in await asyncio.gather(*waiting)} == {200}


async def test_a_body_that_drips_loses_its_place(monkeypatch):
    monkeypatch.setattr(site_module, "BODY_S", 0.05)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async with serving(Looker()) as client:
        status, answer = await post(client, drip(), headers={"Content-Type": "image/jpeg"})
    assert (status, answer["error"]) == (408, "the image must be here within 0.05 s")


async def test_a_port_that_is_taken_is_told():
    looker = Looker()
    async with serving(looker) as client:
        port = client._base_url.port if client._base_url else 0
        with pytest.raises(ListenError, match=r"cannot listen on --http 127\.0\.0\.1:"):
            async with listening(DetectionSite(looker.look, tuple, "x", None), "--http", "127.0.0.1", port or 0):
                pass
