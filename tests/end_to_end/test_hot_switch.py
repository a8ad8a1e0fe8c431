"""Bundles with real weights that come, change, break and go, while frames of open sessions are computed."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest
import torch

from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.engine import Engine
from cloud_server.job import Answer
from cloud_server.registry import Registry
from cloud_server.scheduling import idle_work
from splitnet.bundle import load_device, load_server
from splitnet.errors import BundleError, BundleMismatchError
from splitnet.letterbox import Letterbox
from splitnet.manifest import FILE_NAME
from splitnet.messages import Frame, FrameDetections, FrameError
from splitnet.operating_point import Codec, OperatingPoint
from tests.support.tiny_bundle import INPUT_SIZE, WIDTHS, write_tiny_bundle

POINT = OperatingPoint(Codec.RANS, WIDTHS, 1)


@dataclass(frozen=True)
class Original:
    """A bundle that is copied to where it is served."""

    folder: Path
    digest: str
    payload: bytes  # of a photograph


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory, photo: np.ndarray) -> list[Original]:
    """Return two bundles that differ in their weights."""
    return [_original(tmp_path_factory.mktemp("original"), seed, photo) for seed in (1, 2)]


def _original(folder: Path, seed: int, photo: np.ndarray) -> Original:
    write_tiny_bundle(folder, seed)
    device = load_device(folder)
    canvas = Letterbox.fit(640, 480, INPUT_SIZE).apply(photo)
    symbols = device.encoder.encode(canvas, POINT.width, POINT.quality)
    payload = device.codec.compress(symbols, POINT.width, POINT.quality)
    return Original(folder, device.manifest.digest, payload)


class Site:
    """A folder that is served by an engine, and sessions with it."""

    def __init__(self, folder: Path, engine: Engine[DecodedFrame]) -> None:
        self.folder = folder
        self.engine = engine
        self.registry = Registry(engine, [folder], lambda path: BundleModel(load_server(path), torch.device("cpu")))

    def put(self, original: Original) -> None:
        """Copy a bundle over what is there; the manifest comes last."""
        for path in sorted(original.folder.iterdir(), key=lambda path: path.name == FILE_NAME):
            shutil.copy(path, self.folder)

    async def refresh(self):
        return await asyncio.to_thread(self.registry.refresh)

    def session(self, bundle: Original) -> Session:
        return Session(self.engine, self.registry.find(bundle.digest), bundle.payload)


class Session:
    """Sends a frame as soon as the last one is answered, as long as it is open."""

    def __init__(self, engine: Engine[DecodedFrame], model: BundleModel, payload: bytes) -> None:
        self.answers: list[Answer] = []
        self._engine = engine
        self._model = model
        self._payload = payload
        self._open = True
        self._answered = asyncio.Event()
        self._sending = asyncio.create_task(self._send())

    async def _send(self) -> None:
        while self._open:
            self.answers.append(await self.exchange(self._payload))
            self._answered.set()

    async def exchange(self, payload: bytes) -> Answer:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        frame = Frame(len(self.answers), 0, POINT, payload, 640, 480)
        self._engine.submit(self._model, frame, lambda _, answer: answered.set_result(answer), id(self))
        return await asyncio.wait_for(answered, timeout=30)

    async def some_more(self, count: int = 3) -> None:
        """Wait until so many more frames are answered."""
        for _ in range(count):
            self._answered.clear()
            await asyncio.wait_for(self._answered.wait(), timeout=30)

    async def close(self) -> list[Answer]:
        self._open = False
        await self._sending
        return self.answers


@pytest.fixture
async def site(tmp_path: Path, originals: list[Original], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """Serve the first bundle, one frame at a time, so that equal frames have equal answers."""
    monkeypatch.setattr(idle_work, "PATIENCE_S", 0.0)  # there is no idle moment to wait for
    engine: Engine[DecodedFrame] = Engine(max_batch_size=1, max_queue=8)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    served = Site(tmp_path, engine)
    served.put(originals[0])
    await served.refresh()
    yield served
    await asyncio.to_thread(engine.stop)


def scores(bundle: Original) -> np.ndarray:
    """Return the scores of what a bundle finds in its payload, without engine and registry."""
    model = BundleModel(load_server(bundle.folder), torch.device("cpu"))
    model.prepare()
    (found,) = model.infer(POINT.mode, [model.decode(Frame(0, 0, POINT, bundle.payload, 640, 480))])
    return found.scores


def assert_all_found(answers: list[Answer], bundle: Original) -> None:
    """Check that every frame was computed with the weights that its session began with."""
    expected = scores(bundle)
    for answer in answers:
        assert isinstance(answer, FrameDetections), answer
        np.testing.assert_allclose(answer.detections.scores, expected, rtol=1e-3)


def test_the_two_bundles_can_be_told_apart(originals):
    first, second = map(scores, originals)
    assert len(first) > 0 and not np.allclose(first[:10], second[:10], rtol=1e-2)


async def test_switching_the_bundle_under_load_gives_no_error_and_loses_no_frame(site, originals):
    old, new = originals
    before = [site.session(old) for _ in range(2)]
    await before[0].some_more()
    site.put(new)
    changes = await site.refresh()
    assert ([new.digest[:12] in name for name in changes.loaded], changes.refused) == ([True], ())
    assert [old.digest[:12] in name for name in changes.retired] == [True]
    after = site.session(new)
    for session in (*before, after):
        await session.some_more()
    with pytest.raises(BundleMismatchError, match=new.digest[:12]):
        site.session(old)
    for session in before:
        assert_all_found(await session.close(), old)
    assert_all_found(await after.close(), new)


async def test_a_retired_bundle_is_forgotten_when_its_last_session_ends(site, originals):
    old, new = originals
    retired = weakref.ref(site.registry.find(old.digest))
    session = site.session(old)
    site.put(new)
    await site.refresh()
    await session.some_more()
    assert retired() is not None
    await session.close()
    del session
    after = site.session(new)
    await after.some_more(1)  # the engine lets go of its last batch
    await after.close()
    gc.collect()
    assert retired() is None


@pytest.mark.parametrize("what", ["half copied", "damaged", "deleted"])
async def test_a_folder_that_breaks_under_load_leaves_its_bundle_running(site, originals, what):
    session = site.session(originals[0])
    await session.some_more()
    if what == "deleted":
        shutil.rmtree(site.folder)
        with pytest.raises(BundleError):
            await site.refresh()
    else:
        site.put(originals[1])
        weights = site.folder / "server.safetensors"
        data = weights.read_bytes()
        weights.write_bytes(data[: len(data) // 2] if what == "half copied" else data[:-1] + b"!")
        (why,) = (await site.refresh()).refused
        assert str(weights) in why
    late = site.session(originals[0])
    for one in (session, late):
        await one.some_more()
        assert_all_found(await one.close(), originals[0])


async def test_a_frame_of_a_retired_bundle_is_refused_and_harms_nobody(site, originals):
    old, new = originals
    site.put(new)
    await site.refresh()
    session = site.session(new)
    await session.some_more(1)
    answer = await session.exchange(old.payload)
    assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.INVALID_ARGUMENT
    await session.some_more(1)
    assert_all_found(await session.close(), new)
