"""Which model a run begins with: what was delivered, what came with the software, or what its server gives it first."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_client import delivered_model
from edge_client.config import RunConfig
from edge_client.delivered_model import DeliveredRun, prepare
from edge_client.delivery import obtaining
from edge_client.delivery.model_state import Model, Outcome
from edge_client.delivery.model_store import ModelStore, files_of
from edge_client.encoding.backends import TORCH
from splitnet.bundle import load_device
from splitnet.errors import ConfigError, LinkError, UntrustedError, UpdateError
from splitnet.settings import DEFAULT_BUNDLE
from splitnet.updates.applying import digest_of
from splitnet.updates.artefact import SELF_TEST_FILE, Artefact
from splitnet.updates.delivery import Offer, Phase
from splitnet.updates.self_test import record
from tests.support.artefacts import file_of, half_of
from tests.support.fake_delivery import FakeDelivery
from tests.support.fleet import NOW, Fleet, new_fleet, seconds
from tests.support.tiny_bundle import write_tiny_bundle

MORE = bytes(10_000)


@pytest.fixture(scope="module")
def other_bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "tiny-1"
    write_tiny_bundle(folder, seed=1)
    return folder


@pytest.fixture
def fleet(tmp_path, tiny_bundle) -> Fleet:
    """Return a fleet with one signed version, whose self-test is that of the model."""
    one = new_fleet(tmp_path)
    sign_tested(one, tiny_bundle, 1)
    return one


def sign_tested(fleet: Fleet, bundle: Path, version: int, shift: int = 0) -> Artefact:
    """Sign a device half with its self-test. shift: added to all symbols that are expected."""
    half = load_device(bundle)
    test, expected = record(half, version)
    if shift:
        _, symbols = half.codec.decompress(expected)
        expected = half.codec.compress(symbols + shift, test.width, test.quality)
    artefact, contents = half_of(bundle, version)
    artefact = replace(artefact, files=(*artefact.files, file_of(SELF_TEST_FILE, expected)), self_test=test)
    for data in (expected, *(path.read_bytes() for path in contents.values())):
        fleet.repository.keep(data)
    fleet.repository.add([artefact], fleet.keys, NOW)
    return artefact


@pytest.fixture
def delivery(fleet, monkeypatch) -> FakeDelivery:
    """Return the only server there is, on the day on which the list was signed."""
    one = FakeDelivery(fleet.repository, offers=[Offer(1, False, "tiny")])
    monkeypatch.setattr(delivered_model, "open_delivery", one.open)
    init = obtaining.Obtainer.__init__

    def on_that_day(self: Any, store: ModelStore, forms: Any, clock: Any = time.time) -> None:
        init(self, store, forms, lambda: seconds(NOW))

    monkeypatch.setattr(obtaining.Obtainer, "__init__", on_that_day)
    return one


@pytest.fixture
def config(tmp_path, fleet) -> RunConfig:
    return RunConfig(
        source="0",
        server="edge-node:50051",
        models=tmp_path / "models",
        trust=fleet.repository.fingerprint,
        identity=tmp_path / "nobody",
        device_id="yard",
        backend=TORCH,
    )


@pytest.fixture
def no_default(tmp_path, monkeypatch) -> None:
    """Let nothing have come with the software."""
    monkeypatch.setattr(delivered_model, "DEFAULT_BUNDLE", tmp_path / "none")


def begun(config: RunConfig) -> tuple[DeliveredRun, list[str]]:
    """Return how a run begins, and what it has shown; another may begin after it."""
    shown: list[str] = []
    run = prepare(config, shown.append)
    if run.updater is not None:
        run.updater._store.release()
    return run, shown


def store_of(config: RunConfig) -> ModelStore:
    return ModelStore(config.models / config.trust)


def install(config: RunConfig, fleet: Fleet, bundle: Path, version: int) -> Model:
    """Put a model into the device's store, as its current one."""
    store = store_of(config)
    assert store.own()
    artefact, _ = half_of(bundle, version)
    model = store.install([artefact], None, fleet.first_trust(), files_of(bundle, artefact))
    store.state.commit(model, Outcome(Phase.COMMITTED))
    store.release()
    return model


@pytest.mark.parametrize("changed", [{"no_updates": True}, {"mode": "local"}, {"bundle": Path("x")}])
def test_who_wants_no_models_asks_no_server(changed, config, delivery):
    run, _ = begun(replace(config, **changed))
    assert run.updater is None and run.config == replace(config, **changed)
    assert delivery.opened == 0 and not config.models.exists()


def test_a_device_that_trusts_nobody_runs_what_came_with_the_software(config, delivery):
    run, _ = begun(replace(config, trust=""))
    assert run.updater is None and run.config.bundle == DEFAULT_BUNDLE and delivery.opened == 0


@pytest.mark.usefixtures("no_default")
def test_and_if_nothing_did_it_says_how_to_trust_somebody(tmp_path, config, delivery):
    with pytest.raises(ConfigError, match="trusts nobody's models yet: give --trust FINGERPRINT"):
        begun(replace(config, trust="", bundle=tmp_path / "none"))


def nothing(config: RunConfig, tmp_path: Path) -> RunConfig:
    return replace(config, bundle=tmp_path / "none")


@pytest.mark.usefixtures("no_default")
def test_a_device_with_nothing_gets_its_first_model_and_tests_it(tmp_path, config, delivery, tiny_bundle):
    run, shown = begun(nothing(config, tmp_path))
    assert digest_of(run.config.bundle) == digest_of(tiny_bundle) and run.updater is not None
    assert shown[0].startswith("getting tiny-0, version 1: the whole device half, ")
    current = store_of(config).current
    assert (current.version, current.folder) == (1, run.config.bundle)
    again, shown = begun(replace(nothing(config, tmp_path), trust=""))  # it is remembered whom it trusts
    assert (again.config.bundle, shown) == (run.config.bundle, [])


@pytest.mark.usefixtures("no_default")
def test_a_first_model_that_fails_its_self_test_is_not_begun_with(tmp_path, config, delivery, fleet, other_bundle):
    sign_tested(fleet, other_bundle, 2, shift=1)
    delivery.offers = [Offer(2, False, "tiny")]
    with pytest.raises(UpdateError, match="the self-test disagrees"):
        begun(nothing(config, tmp_path))
    assert store_of(config).current is None


@pytest.mark.usefixtures("no_default")
def test_a_model_that_an_older_version_gives_for_less_counts_as_the_one_offered(
    tmp_path, config, delivery, fleet, tiny_bundle
):
    artefact, _ = half_of(tiny_bundle, 2)
    larger = replace(artefact, files=(*artefact.files, file_of("notes.txt", MORE)), note="the same again")
    fleet.repository.keep(MORE)
    fleet.repository.add([larger], fleet.keys, NOW)
    delivery.offers = [Offer(2, False, "tiny")]
    run, _ = begun(nothing(config, tmp_path))
    assert store_of(config).current.version == 2 and not (run.config.bundle / "notes.txt").exists()


@pytest.mark.usefixtures("no_default")
def test_a_server_whose_models_others_have_signed_gives_none(tmp_path, config, delivery):
    with pytest.raises(UntrustedError, match="is trusted: see --trust"):
        begun(replace(nothing(config, tmp_path), trust="ab" * 16))
    assert delivery.sent == []


@pytest.mark.usefixtures("no_default")
def test_trust_on_first_use_is_remembered(tmp_path, config, delivery):
    begun(replace(nothing(config, tmp_path), trust="", trust_on_first_use=True))
    assert (config.models / "trusted").read_text().strip() == config.trust


def test_a_model_that_the_server_takes_is_begun_with_and_nothing_is_fetched(config, delivery, fleet, other_bundle):
    model = install(config, fleet, other_bundle, 3)
    delivery.offers = [Offer(0, True)]
    run, _ = begun(config)
    assert run.config.bundle == model.folder and run.updater is not None and delivery.sent == []
    assert (delivery.said[0].digest, delivery.said[0].version) == (model.digest, 3)


def test_so_is_one_where_the_server_is_away(config, delivery, fleet, other_bundle, monkeypatch):
    model = install(config, fleet, other_bundle, 3)

    async def away() -> Offer:
        raise LinkError("away")

    monkeypatch.setattr(delivery, "offer", away)
    run, _ = begun(config)
    assert run.config.bundle == model.folder and run.updater is not None


def test_a_model_that_the_server_does_not_take_gives_way_to_a_newer_one(
    config, delivery, fleet, other_bundle, tiny_bundle
):
    install(config, fleet, other_bundle, 1)
    newer = sign_tested(fleet, tiny_bundle, 2)
    delivery.offers = [Offer(2, False, "tiny")]
    run, _ = begun(config)
    assert digest_of(run.config.bundle) == newer.result and store_of(config).current.version == 2


def test_but_not_to_one_that_is_as_old(config, delivery, fleet, other_bundle):
    model = install(config, fleet, other_bundle, 1)
    run, _ = begun(config)
    assert run.config.bundle == model.folder and delivery.sent == []


def test_a_damaged_model_gives_way_to_the_one_before(config, delivery, fleet, tiny_bundle, other_bundle, caplog):
    before = install(config, fleet, tiny_bundle, 2)
    now = install(config, fleet, other_bundle, 3)
    delivery.offers = [Offer(0, True)]
    (now.folder / "manifest.json").write_bytes(b"{")
    run, _ = begun(config)
    assert run.config.bundle == before.folder and f"model {now.folder.name} is damaged" in caplog.text


def test_while_another_run_keeps_the_models_this_one_takes_what_there_is(config, delivery, fleet, tiny_bundle):
    model = install(config, fleet, tiny_bundle, 1)
    owner = store_of(config)
    assert owner.own()
    run, _ = begun(config)
    owner.release()
    assert run.config.bundle == model.folder and run.updater is None and delivery.opened == 0


@pytest.mark.usefixtures("no_default")
def test_and_waits_for_nothing_if_there_is_none_yet(tmp_path, config, delivery):
    owner = store_of(config)
    assert owner.own()
    with pytest.raises(ConfigError, match="another run is getting this device's first model: start again"):
        begun(nothing(config, tmp_path))
    owner.release()


def test_a_new_model_is_made_ready_beside_the_one_that_runs(config, delivery, fleet, tiny_bundle):
    artefact = fleet.repository.artefacts()[0]
    model = install(config, fleet, tiny_bundle, 1)
    (model.folder / SELF_TEST_FILE).write_bytes(record(load_device(tiny_bundle), 1)[1])
    run = DeliveredRun(config)
    assert run.load(model, artefact).encoder.manifest.digest == model.digest
    (model.folder / SELF_TEST_FILE).write_bytes(b"other")
    with pytest.raises(UpdateError, match="the self-test cannot be made"):
        run.load(model, artefact)
    (model.folder / SELF_TEST_FILE).unlink()
    with pytest.raises(UpdateError, match="cannot be read"):
        run.load(model, artefact)
