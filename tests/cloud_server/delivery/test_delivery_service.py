"""What devices see of the service, over real gRPC on loopback: offers that are pushed, pieces, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from cloud_server.delivery.delivery_service import ModelDeliveryService
from cloud_server.delivery.fleet_store import FleetStore
from cloud_server.delivery.repository import Repository
from cloud_server.delivery.rollout import PAUSED, Rollout
from edge_client.delivery.model_store import ModelStore
from edge_client.delivery.obtaining import Obtainer
from edge_client.delivery.pacing import BackgroundPace
from edge_client.delivery.trust_settings import ensure_root
from edge_client.transport.delivery import Delivery, open_delivery
from protos.model_delivery_pb2_grpc import add_ModelDeliveryServicer_to_server
from splitnet.errors import LinkError, ProtocolError, UntrustedError
from splitnet.updates.applying import digest_of
from splitnet.updates.delivery import DeviceState, FetchRequest, Offer, Phase
from tests.support.fleet import NOW, Fleet, new_fleet, seconds


@pytest.fixture
def fleet(tmp_path, tiny_bundle) -> Fleet:
    one = new_fleet(tmp_path)
    one.sign_half(tiny_bundle, 1)
    return one


@asynccontextmanager
async def serving(repository: Repository, *digests: str) -> AsyncIterator[tuple[ModelDeliveryService, Delivery]]:
    """Yield a service that serves bundles, and a device's side of it."""
    service = ModelDeliveryService(repository, lambda: list(digests), clock=lambda: seconds(NOW))
    server = grpc.aio.server()
    add_ModelDeliveryServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_delivery(f"127.0.0.1:{port}") as delivery:
        yield service, delivery
    await server.stop(None)


async def offered(delivery: Delivery) -> Offer:
    return await asyncio.wait_for(delivery.offer(), 10)


def state(digest: str = "", version: int = 0, **changed) -> DeviceState:
    return DeviceState("one", ("torch",), digest, version, **changed)


async def test_a_device_without_a_model_gets_one_whole_and_verified(fleet, tmp_path):
    artefact = fleet.repository.artefacts()[0]
    store = ModelStore(tmp_path / "models")
    store.own()
    async with serving(fleet.repository, artefact.result) as (_, delivery):
        delivery.say(state())
        assert await offered(delivery) == Offer(1, False, "tiny-0")
        ensure_root(store, fleet.repository.fingerprint, await delivery.whole("1.root.json", 10_000))
        obtainer = Obtainer(store, ("torch",), lambda: seconds(NOW))
        goal = await obtainer.goal(delivery, 1, None)
        seen: list[tuple[int, int]] = []
        await obtainer.download(delivery, goal, None, BackgroundPace(True), lambda *both: seen.append(both))
        model = await obtainer.install(goal, None)
    assert digest_of(model.folder) == artefact.result and model.version == 1
    assert seen[-1] == (artefact.stored_bytes, artefact.stored_bytes) or seen[-1][0] < artefact.stored_bytes
    store.release()


async def test_what_is_published_is_pushed(fleet):
    artefact = fleet.repository.artefacts()[0]
    async with serving(fleet.repository, artefact.result, "ab" * 32) as (service, delivery):
        delivery.say(state("ab" * 32))
        assert await offered(delivery) == Offer(0, True)
        store = FleetStore(fleet.repository.path)
        store.publish(Rollout(1, artefact.name, artefact.result, "all", 0, 3))
        await service.look()
        assert await offered(delivery) == Offer(1, True, "tiny-0")
        delivery.say(state("ab" * 32, phase=Phase.DOWNLOADING, target=artefact.target))
        store.set_state(1, PAUSED)
        await asyncio.sleep(0)
        while (await asyncio.to_thread(store.view)).devices.get("one") is None:
            await service.look()
        await service.look()
        assert (await offered(delivery)).is_halted


async def test_failures_pause_a_rollout(fleet):
    artefact = fleet.repository.artefacts()[0]
    store = FleetStore(fleet.repository.path)
    store.publish(Rollout(1, artefact.name, artefact.result, "all", 0, max_failures=1))
    failed = state("ab" * 32, phase=Phase.ROLLED_BACK, target=artefact.target, reason="too slow")
    assert [one.version for one in store.note({"one": (failed, 1)}, 5.0)] == [1]
    (rollout,) = store.view().rollouts
    assert rollout.state == PAUSED and "1 devices went back" in rollout.note
    assert store.view().devices["one"].state == failed


async def test_a_version_that_is_not_signed_or_older_is_refused(fleet, tmp_path, tiny_bundle):
    store = ModelStore(tmp_path / "models")
    store.own()
    store.state.keep_trust(fleet.first_trust())
    obtainer = Obtainer(store, ("torch",), lambda: seconds(NOW))
    async with serving(fleet.repository) as (_, delivery):
        with pytest.raises(UntrustedError, match="not in the signed list"):
            await obtainer.goal(delivery, 7, None)
        goal = await obtainer.goal(delivery, 1, None)
        await obtainer.download(delivery, goal, None, BackgroundPace(True), lambda *_: None)
        model = await obtainer.install(goal, None)
        with pytest.raises(UntrustedError, match="has had 1"):
            await obtainer.goal(delivery, 1, model)
    store.release()


async def test_a_file_that_is_not_there_and_pieces_beyond_the_end(fleet):
    file = fleet.repository.artefacts()[0].files[0]
    async with serving(fleet.repository) as (_, delivery):
        assert (await delivery.fetch(FetchRequest("99.root.json"))).is_missing
        assert (await delivery.fetch(FetchRequest("ab" * 32))).is_missing
        assert (await delivery.fetch(FetchRequest(file.stored_sha256, file.stored_bytes))).data == b""
        assert (await delivery.fetch(FetchRequest(file.stored_sha256, 1 << 63))).data == b""
        assert len((await delivery.fetch(FetchRequest(file.stored_sha256, 1, 7))).data) == 7


async def test_a_path_is_refused_and_the_next_request_served(fleet):
    async with serving(fleet.repository) as (_, delivery):
        with pytest.raises(ProtocolError, match="named by its SHA-256"):
            await delivery.fetch(FetchRequest("../online/online.pem"))
        assert (await delivery.fetch(FetchRequest("1.root.json"))).data


async def test_a_server_without_signed_models_says_what_to_do(tmp_path):
    async with serving(Repository(tmp_path / "none")) as (_, delivery):
        delivery.say(state())
        with pytest.raises(ProtocolError, match="cloud-server keys new"):
            await offered(delivery)


async def test_a_server_that_is_away_is_a_broken_link():
    async with open_delivery("127.0.0.1:1") as delivery:
        with pytest.raises(LinkError):
            await delivery.fetch(FetchRequest("1.root.json"))
