"""A client in another language, from the .proto file alone, gets for an ordinary image what ours gets."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import examples.features
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.engine import Engine
from cloud_server.registry import Registry
from cloud_server.server import Server
from edge_client.transport.session import open_session
from splitnet.bundle import load_server
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest, load_manifest
from splitnet.messages import Frame, FrameDetections, OpenSession
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE
from tests.conftest import PROJECT

EXAMPLE = PROJECT / "examples" / "node"
NODE = shutil.which("node")
POINT = OperatingPoint(Codec.JPEG, 0, 100)
MAX_OFF_PX = 3.0  # of a box, as our own client sends a canvas that has been through JPEG once more
MAX_OFF_SCORE = 0.05
Found = tuple[str, float, list[float]]  # class, score, box
SURE = 0.5  # what is found with less may fall on either side of the threshold


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Return where a server listens that serves a bundle with real weights."""
    engine: Engine[Any] = Engine(max_batch_size=1, max_queue=8)
    registry = Registry(engine, [DEFAULT_BUNDLE], lambda folder: BundleModel(load_server(folder), torch.device("cpu")))
    server = Server(engine, registry, "127.0.0.1:0")
    yield await server.start()
    await server.stop(0.0, asyncio.Event())


async def found_by_ours(
    address: str, manifest: Manifest, image: np.ndarray, features: bytes | None = None
) -> list[Found]:
    """Return what our own client finds in image mode, or in features at w5 q8: class, score and box."""
    height, width = image.shape[:2]
    canvas = Letterbox.fit(width, height, manifest.input_size).apply(image)
    frame = Frame(1, 0, POINT, compress_image(canvas, POINT.codec, POINT.quality), width, height)
    if features is not None:
        frame = Frame(1, 0, OperatingPoint(Codec.RANS, 5, 8), features, width, height)
    async with open_session(address, OpenSession("ours", manifest.digest)) as session:
        writing = asyncio.create_task(session.write_frames())
        session.send(frame)
        session.finish()
        replies = [reply async for reply in session.replies()]
        await writing
    (found,) = [reply.detections for reply in replies if isinstance(reply, FrameDetections)]
    names = [manifest.class_names[label] for label in found.labels]
    return list(zip(names, found.scores.tolist(), found.boxes.tolist(), strict=True))


def documented_client() -> Callable[[str, bytes], list[Found]]:
    """Return the function of the worked example in docs/protocol.md."""
    page = (PROJECT / "docs" / "protocol.md").read_text()
    namespace: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], namespace)
    found: Callable[[str, bytes], list[Found]] = namespace["detect"]
    return found


async def printed_by_node(*arguments: object) -> list[dict[str, Any]]:
    command = [str(NODE), str(EXAMPLE / "detect.mjs"), *map(str, arguments)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), timeout=60)
    assert process.returncode == 0
    return [json.loads(line) for line in out.splitlines()]


def assert_alike(theirs: list[Found], ours: list[Found], tolerance_px: float) -> None:
    """Compare what is sure, in the order of the scores."""
    theirs, ours = ([one for one in found if one[1] > SURE] for found in (theirs, ours))
    assert ours and [one[0] for one in theirs] == [one[0] for one in ours]
    for (_, score, box), (_, our_score, our_box) in zip(theirs, ours, strict=True):
        assert abs(score - our_score) < MAX_OFF_SCORE
        np.testing.assert_allclose(box, our_box, atol=tolerance_px)


async def test_the_documented_client_gets_the_boxes_of_our_own(address, photo):
    payload = compress_image(photo, Codec.JPEG, 95)
    image = decompress_image(payload, Codec.JPEG, 640, 480)
    ours = await found_by_ours(address, load_manifest(DEFAULT_BUNDLE), image)
    theirs = await asyncio.to_thread(documented_client(), address, payload)
    assert_alike(theirs, ours, MAX_OFF_PX * 640 / 416)


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
@pytest.mark.skipif(not (EXAMPLE / "node_modules").is_dir(), reason="run `npm install` in examples/node first")
async def test_node_gets_the_boxes_of_our_own_client_for_images_of_any_size(address, photo, tmp_path):
    manifest = load_manifest(DEFAULT_BUNDLE)
    images = {"landscape.jpg": photo, "portrait.jpg": photo[:, 100:440], "large.jpg": cv2.resize(photo, (1280, 960))}
    for name, image in images.items():
        cv2.imwrite(str(tmp_path / name), image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    answers = await printed_by_node(address, *(tmp_path / name for name in images))
    assert [Path(answer["image"]).name for answer in answers] == list(images)
    for answer in answers:
        image = cv2.imread(answer["image"])
        theirs = [(one["class"], one["score"], one["box"]) for one in answer["objects"]]
        scale = max(image.shape) / manifest.input_size
        assert_alike(theirs, await found_by_ours(address, manifest, image), MAX_OFF_PX * scale)


async def printed_without_packages(*arguments: object) -> dict[str, Any]:
    command = [str(NODE), str(EXAMPLE / "features.mjs"), *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, errors = await asyncio.wait_for(process.communicate(), timeout=60)
    return json.loads(out) if process.returncode == 0 else {"error": errors.decode()}


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
async def test_node_sends_features_and_images_with_nothing_installed(address, photo, tmp_path):
    image, features = tmp_path / "photo.png", tmp_path / "frame.sl"
    cv2.imwrite(str(image), photo)
    await asyncio.to_thread(examples.features.main, [str(image), str(features), "--width", "5", "--quality", "8"])
    manifest = load_manifest(DEFAULT_BUNDLE)
    height, width = photo.shape[:2]
    ours = await found_by_ours(address, manifest, photo, features.read_bytes())
    answer = await printed_without_packages(address, features, f"{width}x{height}")
    theirs = [(one["class"], one["score"], one["box"]) for one in answer["objects"]]
    assert_alike(theirs, ours, 0.01)
    cv2.imwrite(str(tmp_path / "photo.jpg"), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
    answer = await printed_without_packages(address, tmp_path / "photo.jpg")
    assert {one["class"] for one in answer["objects"] if one["score"] > SURE} >= {ours[0][0]}


@pytest.mark.skipif(NODE is None, reason="Node.js is not installed")
async def test_what_the_server_says_of_a_bad_frame_reaches_the_user_of_node(address, tmp_path):
    (tmp_path / "frame.sl").write_bytes(b"SL" + bytes(200))
    assert "another bundle" in (await printed_without_packages(address, tmp_path / "frame.sl", "640x480"))["error"]
    digest = bytes.fromhex(load_manifest(DEFAULT_BUNDLE).device_digest)[:8]
    (tmp_path / "frame.sl").write_bytes(b"SL\x01\x01" + digest + b"\x01\x01" + bytes(200))
    said = (await printed_without_packages(address, tmp_path / "frame.sl", "640x480"))["error"]
    assert said.startswith("features: ") and len(said) > 20
    assert "the link is gone" in (await printed_without_packages("127.0.0.1:9", tmp_path / "frame.sl"))["error"]
