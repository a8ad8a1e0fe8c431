"""What a running device does about the server's offers: the model that goes on is always one that works."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from edge_client.delivery import model_store, updater
from edge_client.delivery.model_state import Model, Outcome
from edge_client.delivery.model_store import ModelStore
from edge_client.delivery.pacing import BackgroundPace
from edge_client.delivery.trial import TrialLimits
from edge_client.delivery.updater import Updater
from edge_client.frames import CapturedFrame, Fate, FrameOutcome
from splitnet.errors import BundleMismatchError, UpdateError
from splitnet.manifest import DETECTOR_FILE, ENCODER_FILE
from splitnet.updates.applying import digest_of
from splitnet.updates.artefact import FOR_TORCH, UPDATE, Artefact
from splitnet.updates.delivery import DeviceState, Offer, Phase
from tests.support.artefacts import HALF, file_of
from tests.support.fake_delivery import FakeDelivery
from tests.support.fleet import NOW, Fleet, new_fleet, seconds
from tests.support.updated_bundle import write_updated

PATIENCE_S = 20.0
WITH_LOCAL = (*HALF, DETECTOR_FILE)
IMAGE = np.zeros((1, 1, 3), np.uint8)
GETS = [Phase.IDLE, Phase.DOWNLOADING, Phase.INSTALLED, Phase.TRIAL]


@pytest.fixture(scope="module")
def bundles(tiny_bundle, tmp_path_factory) -> list[Path]:
    """Return three versions of a bundle; the second and the third each differ from the one before by an update."""
    folder = tmp_path_factory.mktemp("versions")
    second = write_updated(tiny_bundle, folder / "second")
    third = write_updated(second.bundle, folder / "third")
    (folder / "second.ssu").write_bytes(second.data)
    (folder / "third.ssu").write_bytes(third.data)
    return [tiny_bundle, second.bundle, third.bundle]


@pytest.fixture
def fleet(tmp_path, bundles) -> Fleet:
    """Return a fleet whose first two versions are signed whole."""
    one = new_fleet(tmp_path)
    for version in (1, 2):
        one.sign_half(bundles[version - 1], version, names=WITH_LOCAL)
    return one


def sign_update(fleet: Fleet, base: Path, bundle: Path, version: int) -> None:
    """Sign an update from one bundle to another, and nothing whole."""
    data = bundle.with_suffix(".ssu").read_bytes()
    fleet.repository.keep(data)
    name, files = "tiny-0", (file_of("update.ssu", data),)
    fleet.repository.add([Artefact(UPDATE, name, version, digest_of(bundle), files, digest_of(base))], fleet.keys, NOW)


class Device:
    """A device that runs version 1, and a pipeline without frames: the test gives each frame's fate."""

    is_linked = True

    def __init__(self, fleet: Fleet, folder: Path, bundle: Path) -> None:
        self.fleet = fleet
        self.store = ModelStore(folder / "models")
        assert self.store.own()
        first = fleet.repository.artefacts()[-1]
        found = {file.sha256: bundle / file.name for file in first.files}
        self.first = self.store.install([first], None, fleet.first_trust(), found)
        self.store.state.commit(self.first, Outcome())
        self.delivery = FakeDelivery(fleet.repository, offers=[Offer(2, True, "tiny")])
        self.delivery.hears = self.hear
        self.ran: list[str] = []
        self.fates = [FrameOutcome.ANSWERED] * 5  # of the frames of a trial
        self.load: Callable[[Model, Artefact], str] = lambda model, artefact: f"version {artefact.version}"
        self.frame = 0
        self.updater = self.new_updater()

    def new_updater(self) -> Updater[str]:
        made: Updater[str] = Updater(
            self.store,
            self.fleet.repository.fingerprint,
            None,
            "yard",
            (FOR_TORCH,),
            self.first,
            self.delivery.open,
            lambda model, artefact: self.load(model, artefact),
            TrialLimits(seconds=0, frames=5),
            clock=lambda: seconds(NOW),
        )
        made.start_with("version 1")
        return made

    def switch(self, parts: str) -> int:
        """Go on with another model."""
        self.ran.append(parts)
        return self.frame

    def hear(self, state: DeviceState) -> None:
        """Let the frames of a trial end."""
        if state.phase is Phase.TRIAL:
            for outcome in self.fates:
                self.frame += 1
                self.updater.recorder.write(Fate(outcome, CapturedFrame(self.frame, 0.0, 0.0, IMAGE)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the updater work until the block ends."""
        task = asyncio.create_task(self.updater.run(self))  # type: ignore[arg-type]
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, phase: Phase, version: int = 0) -> DeviceState:
        """Wait until the device says something; returns it."""

        async def heard() -> DeviceState:
            while True:
                for state in self.delivery.said:
                    if state.phase is phase and state.target.startswith(f"{version}-" if version else ""):
                        return state
                await asyncio.sleep(0.001)

        return await asyncio.wait_for(heard(), PATIENCE_S)

    async def through(self, phase: Phase) -> DeviceState:
        """Run until the device says something."""
        async with self.running():
            return await self.until(phase)


@pytest.fixture
def device(fleet, tmp_path, bundles, monkeypatch) -> Device:
    monkeypatch.setattr(updater, "LOOK_INTERVAL_S", 0.001)
    monkeypatch.setattr(updater, "LINK_RETRY_S", 0.0)
    monkeypatch.setattr(updater, "BackgroundPace", lambda: BackgroundPace(is_alone=True))
    return Device(fleet, tmp_path, bundles[0])


async def test_an_offered_model_is_fetched_tried_and_kept(device):
    last = await device.through(Phase.COMMITTED)
    assert device.delivery.phases == [*GETS, Phase.COMMITTED]
    assert device.ran == ["version 2"]
    current = device.store.current
    assert (last.version, last.digest) == (2, current.digest) == (current.version, last.digest)
    assert device.store.state.slots() == {"current": current.folder.name, "previous": device.first.folder.name}
    assert device.store.state.outcome().phase is Phase.COMMITTED


async def test_a_device_two_versions_behind_takes_the_chain_of_updates(device, fleet, bundles, caplog):
    sign_update(fleet, bundles[0], bundles[1], 3)
    sign_update(fleet, bundles[1], bundles[2], 4)
    device.delivery.offers = [Offer(4, True, "tiny-0")]
    with caplog.at_level(logging.INFO):
        last = await device.through(Phase.COMMITTED)
    sent = sum(size for _, _, size in device.delivery.sent)
    assert sent == sum(bundle.with_suffix(".ssu").stat().st_size for bundle in bundles[1:])
    assert f"2 updates in a row, {sent:,} bytes" in caplog.text
    assert last.version == 4


async def test_a_device_with_another_base_takes_it_whole(device, fleet, bundles, caplog):
    sign_update(fleet, bundles[1], bundles[2], 3)
    fleet.sign_half(bundles[2], 4, names=WITH_LOCAL)
    device.delivery.offers = [Offer(4, True, "tiny-0")]
    with caplog.at_level(logging.INFO):
        assert (await device.through(Phase.COMMITTED)).version == 4
    assert "the whole device half" in caplog.text


async def test_an_update_that_does_not_fit_a_damaged_model_gives_way_to_the_whole(device, fleet, bundles, caplog):
    sign_update(fleet, bundles[0], bundles[2], 3)  # it is one to another base than it says
    fleet.sign_half(bundles[2], 4, names=WITH_LOCAL)
    device.delivery.offers = [Offer(4, True, "tiny-0")]
    last = await device.through(Phase.COMMITTED)
    assert "the whole device half is fetched instead" in caplog.text
    assert last.digest == digest_of(bundles[2]) and device.store.state.refusal(4) is None


async def test_an_update_that_does_not_fit_is_refused_where_nothing_whole_is_signed(device, fleet, bundles):
    sign_update(fleet, bundles[0], bundles[2], 3)
    device.delivery.offers = [Offer(3, True, "tiny-0")]
    last = await device.through(Phase.REFUSED)
    assert "the update is for other weights than these" in last.reason
    assert device.store.current == device.first and device.ran == []


async def test_the_way_back_to_a_model_that_is_still_here_fetches_nothing(device, fleet, bundles):
    fleet.sign_half(bundles[0], 3, names=WITH_LOCAL)
    device.delivery.offers = [Offer(3, True, "tiny-0")]
    assert (await device.through(Phase.COMMITTED)).version == 3
    assert device.delivery.sent == [] and device.store.current.folder == device.first.folder


async def test_a_damaged_model_is_made_anew_on_the_way_back(device, fleet, bundles):
    fleet.sign_half(bundles[0], 3, names=WITH_LOCAL)
    device.delivery.offers = [Offer(3, True, "tiny-0")]
    (device.first.folder / ENCODER_FILE).write_bytes(b"damaged")
    await device.through(Phase.COMMITTED)
    assert {size for _, _, size in device.delivery.sent} == {(bundles[0] / ENCODER_FILE).stat().st_size}
    assert device.store.current.folder != device.first.folder


async def test_what_was_committed_is_not_taken_again(device):
    async with device.running():
        await device.until(Phase.COMMITTED)
        device.delivery.push(Offer(2, True, "tiny"))
        device.delivery.push(Offer(1, True, "tiny"))
        for _ in range(20):
            await asyncio.sleep(0)
    assert device.ran == ["version 2"] and device.delivery.phases[-1] is Phase.COMMITTED


async def test_a_model_whose_frames_are_refused_goes_back_and_is_not_tried_again(device):
    device.fates = [FrameOutcome.REFUSED] * 5
    last = await device.through(Phase.ROLLED_BACK)
    assert "the server refuses 100% of its frames" in last.reason
    assert (last.version, last.digest) == (1, device.first.digest)
    assert device.ran == ["version 2", "version 1"]
    assert device.store.current == device.first and "trial" not in device.store.state.slots()
    device.store.own()
    device.updater, device.delivery.said[:] = device.new_updater(), []
    last = await device.through(Phase.REFUSED)
    assert "refuses 100%" in last.reason and len(device.ran) == 2


async def test_a_model_that_the_server_does_not_take_goes_back(device):
    device.fates = []
    async with device.running():
        await device.until(Phase.TRIAL)
        assert device.updater.forgives(BundleMismatchError("it serves another"))
        last = await device.until(Phase.ROLLED_BACK)
    assert last.reason == "the server does not take it: it serves another"


async def test_an_aborted_rollout_takes_a_trial_back(device):
    device.fates = []
    async with device.running():
        await device.until(Phase.TRIAL)
        device.delivery.push(Offer(1, True, "tiny"))
        last = await device.until(Phase.ROLLED_BACK)
    assert last.reason == "the rollout was taken back" and device.ran[-1] == "version 1"


async def test_a_paused_rollout_does_not_begin_a_trial_until_it_goes_on(device):
    device.delivery.offers = [Offer(2, True, "tiny", is_halted=True)]
    async with device.running():
        await device.until(Phase.INSTALLED)
        for _ in range(20):
            await asyncio.sleep(0)
        assert device.ran == []
        device.delivery.push(Offer(2, True, "tiny"))
        await device.until(Phase.COMMITTED)
    assert device.ran == ["version 2"]


async def test_of_two_updates_at_once_the_second_waits_for_the_first(device, fleet, bundles):
    fleet.sign_half(bundles[2], 3, names=WITH_LOCAL)
    fates, device.fates = device.fates, []
    async with device.running():
        trial = await device.until(Phase.TRIAL)
        device.delivery.push(Offer(3, True, "tiny"))
        device.fates = fates
        device.hear(trial)
        last = await device.until(Phase.COMMITTED, 3)
    assert device.ran == ["version 2", "version 3"] and last.version == 3


async def test_a_model_that_does_not_load_never_sees_a_frame(device):
    def fails(model: Model, artefact: Artefact) -> str:
        raise UpdateError("the self-test disagrees")

    device.load = fails
    last = await device.through(Phase.REFUSED)
    assert (last.reason, last.version, device.ran) == ("the self-test disagrees", 1, [])
    assert device.store.current == device.first
    assert device.store.state.refusal(2) == "the self-test disagrees"


async def test_what_is_not_in_the_signed_list_is_refused_until_it_is(device):
    device.delivery.offers = [Offer(9, True, "tiny")]
    last = await device.through(Phase.REFUSED)
    assert "not in the signed list" in last.reason
    assert device.store.state.refusal(9) is None and device.delivery.sent == []


async def test_a_cut_link_costs_no_byte_twice(device, monkeypatch):
    monkeypatch.setattr(BackgroundPace, "piece_bytes", 5000)
    device.delivery.pieces_left = 3
    await device.through(Phase.COMMITTED)
    sent = device.delivery.sent
    assert len({(name, offset) for name, offset, _ in sent}) == len(sent) > 3
    assert device.ran == ["version 2"]


async def test_a_full_disk_is_said_and_leaves_the_model_as_it_was(device, monkeypatch):
    monkeypatch.setattr(model_store, "SPARE_BYTES", 1 << 62)
    async with device.running():
        await device.until(Phase.IDLE, 2)
    last = device.delivery.said[-1]
    assert last.reason.endswith("is full: free some, or give another place with --models")
    assert device.delivery.sent == [] and device.ran == [] and device.store.state.refusal(2) is None


async def test_a_run_that_ends_in_a_trial_begins_with_the_old_model_again(device):
    device.fates = []
    async with device.running():
        await device.until(Phase.TRIAL)
        assert "trial" in device.store.state.slots()
    assert "trial" not in device.store.state.slots()
    assert device.store.current == device.first and device.store.state.refusal(2) is None


async def test_a_server_without_models_is_asked_again_later_and_changes_nothing(device, monkeypatch, caplog):
    monkeypatch.setattr(updater, "RETRY_S", 0.0)
    device.delivery.offers = []
    with caplog.at_level(logging.INFO):
        async with device.running():
            while device.delivery.opened < 3:
                await asyncio.sleep(0)
    assert caplog.text.count("no models from the server") == 1 and device.ran == []
    assert not device.updater.forgives(BundleMismatchError("another"))  # no other model will come
