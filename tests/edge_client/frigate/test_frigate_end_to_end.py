"""A double of Frigate, the endpoint, the pipeline and a scripted server: every request is answered, link or no link."""

from __future__ import annotations

import asyncio
from collections import Counter

import numpy as np
import pytest

from benchmarks.harness.frigate_plugin import FrigatePlugin
from edge_client.adaptation.profile import DeviceProfile
from edge_client.build import build_run
from edge_client.encoding.backends import TORCH
from edge_client.frigate.endpoint import FrigateEndpoint
from edge_client.frigate_config import FrigateConfig
from edge_client.measuring.profile_cache import device_fingerprint, keep_profile
from edge_client.requests.desk import Desk
from splitnet.manifest import Accuracy, Manifest
from splitnet.measured_point import MeasuredPoint
from splitnet.messages import SessionOpened
from splitnet.operating_point import Codec, Mode
from tests.support.fake_server import FakeService, serving
from tests.support.tiny_bundle import write_tiny_bundle

POINT = MeasuredPoint(Mode.SPLIT, Codec.RANS, 1, 0, 90.0, 95.0, 300.0, 400.0, 1.0, 40.0)
TENSOR = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
REQUESTS = 3  # of each part
PATIENCE_MS = 30_000  # of the double: the machine may be slow


@pytest.fixture
def bundle(tmp_path, monkeypatch) -> Manifest:
    """Return a bundle whose one operating point beats the device's own detector, and a profile of this device."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = write_tiny_bundle(tmp_path / "tiny").with_measurements(Accuracy(28.7, 43.4), (POINT,))
    manifest.write(tmp_path / "tiny")
    device = device_fingerprint("cpu", 1, TORCH)
    assert keep_profile(DeviceProfile(device, manifest.digest, {"w1 q0": 1.0}, 5.0, local_backend=TORCH))
    return manifest


@pytest.mark.usefixtures("keep_threads")
async def test_every_request_is_answered_while_the_link_works_falls_silent_and_is_gone(bundle, tmp_path):
    service = FakeService(SessionOpened(bundle.name, bundle.digest, "fake server 1"))
    async with serving(service) as address:
        config = FrigateConfig(
            server=address, bundle=tmp_path / "tiny", backend=TORCH, listen="tcp://127.0.0.1:*", timeout_ms=300
        )
        desk = Desk(config.timeout_ms)
        built = build_run(config.run_config(), [desk], source=desk.source)
        assert built.local is not None
        endpoint = FrigateEndpoint(desk, config.pixel_format, config.min_score)
        where = endpoint.bind(config.listen)
        desk.open(built.local)
        running = asyncio.create_task(built.cameras.run())
        answering = asyncio.create_task(endpoint.serve())
        plugin = await asyncio.to_thread(FrigatePlugin, where, PATIENCE_MS)
        await asyncio.to_thread(ask_until, plugin, "server")
        working = await asyncio.to_thread(ask, plugin)
        service.answer = lambda frame: []
        silent = await asyncio.to_thread(ask, plugin)
    gone = await asyncio.to_thread(ask, plugin)
    assert plugin.restarts == 0
    assert (working.total(), silent.total(), gone.total()) == (REQUESTS, REQUESTS, REQUESTS)
    assert silent["server"] == gone["server"] == 0
    assert silent["rescue"] + silent["device"] > 0 and gone["rescue"] + gone["device"] > 0
    plugin.close()
    answering.cancel()
    desk.close()
    await running
    endpoint.close()


def ask(plugin: FrigatePlugin) -> Counter[str]:
    """Return who has answered so many requests."""
    answered: Counter[str] = Counter()
    for _ in range(REQUESTS):
        rows, _ = plugin.detect(TENSOR)
        assert rows.shape == (20, 6)
        answered[plugin.about["answered_by"]] += 1
    return answered


def ask_until(plugin: FrigatePlugin, who: str) -> None:
    """Ask until the first session is open."""
    for _ in range(200):
        plugin.detect(TENSOR)
        if plugin.about["answered_by"] == who:
            return
    raise AssertionError(f"{who} never answers")
