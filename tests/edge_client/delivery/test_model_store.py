"""Power cuts at every step: always a model that works, never a damaged one, never an older one."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import random
import shutil
from pathlib import Path

import pytest

from edge_client.delivery.durable_files import DurableFiles
from edge_client.delivery.model_state import PREVIOUS, TRIAL, Model, Outcome, Trust
from edge_client.delivery.model_store import MOST_RESTARTS, ModelStore, files_of
from splitnet.bundle import load_device
from splitnet.errors import ConfigError, OutputError, UpdateError
from splitnet.updates.applying import digest_of
from splitnet.updates.artefact import ZSTD, Artefact
from splitnet.updates.delivery import Phase
from tests.support.artefacts import half_of
from tests.support.tiny_bundle import write_tiny_bundle

TRUST = Trust(b"root", b"timestamp", b"snapshot", b"targets", 5.0)


class PowerCut(BaseException):
    """The power is gone."""


class Cutting(DurableFiles):
    """Cuts the power at a step. What was not synced by then is lost from a random byte on."""

    def __init__(self, at: int, seed: int = 0) -> None:
        self.left, self.steps = at, 0
        self._unsynced: set[Path] = set()
        self._random = random.Random(seed)

    def step(self, what: str, path: Path) -> None:
        self.steps += 1
        self.left -= 1
        if self.left == 0:
            for one in self._unsynced:
                if one.is_file():
                    with one.open("r+b") as file:
                        file.truncate(self._random.randrange(one.stat().st_size + 1))
            raise PowerCut
        if what == "sync":
            self._unsynced.discard(path)
        elif what in ("append", "unpack"):
            self._unsynced.add(path)


@pytest.fixture(scope="module")
def halves(tmp_path_factory) -> list[tuple[Artefact, dict[str, Path]]]:
    """Return two versions of a device half."""
    folder = tmp_path_factory.mktemp("halves")
    for seed in (0, 1):
        write_tiny_bundle(folder / str(seed), seed)
    return [half_of(folder / str(seed), seed + 1) for seed in (0, 1)]


def get(store: ModelStore, half: tuple[Artefact, dict[str, Path]], piece: int = 20_000) -> Model:
    """Download and install a half."""
    artefact, contents = half
    for file in artefact.files:
        data = contents[file.name].read_bytes()
        while not store.has(file):
            offset = store.received(file)
            store.receive(file, data[offset : offset + piece])
    return store.install([artefact], None, TRUST, {})


def whole_life(store: ModelStore, half: tuple[Artefact, dict[str, Path]]) -> None:
    """Get a half, try it and keep it."""
    model = store.installed(half[0]) or get(store, half)
    store.state.begin_trial(model)
    store.state.commit(model, Outcome(Phase.COMMITTED, half[0].target))


def opened(folder: Path, files: DurableFiles | None = None) -> ModelStore:
    store = ModelStore(folder, files=files)
    assert store.own()
    return store


def test_every_power_cut_leaves_the_old_model_or_the_new_one(halves, tmp_path):
    counting = Cutting(0)
    whole_life(store := opened(tmp_path / "0"), halves[0])
    store.release()
    shutil.copytree(tmp_path / "0", tmp_path / "count")
    whole_life(store := opened(tmp_path / "count", counting), halves[1])
    store.release()
    wanted = {halves[0][0].result, halves[1][0].result}
    for at in range(1, counting.steps + 1):
        folder = shutil.copytree(tmp_path / "0", tmp_path / str(at))
        cut = ModelStore(folder, files=Cutting(at, seed=at))
        with pytest.raises(PowerCut):
            cut.own()
            whole_life(cut, halves[1])
            pytest.fail("there were fewer steps")
        was_committed = cut.state.in_slot("current").version == 2
        cut.release()
        store = opened(folder)
        current = store.current
        assert current.version == (2 if was_committed else 1)  # what was committed stays, nothing else does
        assert digest_of(current.folder) == current.digest and current.digest in wanted
        digests = {file.name: file.sha256 for file in halves[current.version - 1][0].files}
        for name, sha256 in digests.items():
            assert hashlib.sha256((current.folder / name).read_bytes()).hexdigest() == sha256
        whole_life(store, halves[1])  # and goes on from there
        assert store.current.version == 2
        store.release()
    assert counting.steps > 25
    assert load_device(store.current.folder).manifest.digest == halves[1][0].result


def test_a_power_cut_in_the_very_first_installation_leaves_nothing_that_is_believed(halves, tmp_path):
    for at in range(1, 12):
        cut = ModelStore(tmp_path / str(at), files=Cutting(at))
        with pytest.raises(PowerCut):
            cut.own()
            whole_life(cut, halves[0])
        cut.release()
        store = opened(tmp_path / str(at))
        assert store.current is None
        whole_life(store, halves[0])
        assert store.current.version == 1
        store.release()


def test_a_device_that_restarts_during_a_trial_comes_up_with_the_old_model(halves, tmp_path):
    whole_life(store := opened(tmp_path), halves[0])
    model = get(store, halves[1])
    for tries in range(1, MOST_RESTARTS + 1):
        store.state.begin_trial(model)
        store.release()
        store = opened(tmp_path)
        assert store.current.version == 1 and store.state.in_slot(TRIAL) is None
        assert "restarted during the trial" in store.state.outcome().reason
        assert (store.state.refusal(2) is None) == (tries < MOST_RESTARTS)
    assert store.state.outcome().phase is Phase.ROLLED_BACK


def test_a_run_that_ends_during_a_trial_holds_nothing_against_the_model(halves, tmp_path):
    whole_life(store := opened(tmp_path), halves[0])
    store.state.begin_trial(get(store, halves[1]))
    store.state.drop_trial()
    store.release()
    store = opened(tmp_path)
    assert store.current.version == 1 and store.state.outcome().phase is Phase.COMMITTED
    assert store.installed(halves[1][0]).version == 2  # without another download


def test_what_was_verified_and_the_model_change_together(halves, tmp_path):
    store = opened(tmp_path)
    get(store, halves[0])
    assert store.state.trust() == TRUST


def test_a_rolled_back_version_is_not_taken_again(halves, tmp_path):
    whole_life(store := opened(tmp_path), halves[0])
    store.state.begin_trial(get(store, halves[1]))
    store.state.end_trial(2, Outcome(Phase.ROLLED_BACK, "2-tiny", "too slow"), is_final=True)
    assert store.current.version == 1 and store.state.refusal(2) == "too slow"


def test_the_previous_model_is_kept(halves, tmp_path):
    store = opened(tmp_path)
    for half in halves:
        whole_life(store, half)
    assert store.state.in_slot(PREVIOUS).version == 1


def test_two_processes_do_not_change_a_store_at_once(tmp_path):
    first, second = ModelStore(tmp_path), ModelStore(tmp_path)
    assert first.own() and first.own() and not second.own()
    first.release()
    assert second.own()


def test_a_download_that_is_another_file_is_thrown_away(halves, tmp_path):
    store, file = opened(tmp_path), halves[0][0].files[1]
    store.receive(file, bytes(file.stored_bytes))
    with pytest.raises(UpdateError, match="SHA-256 differs"):
        store.has(file)
    assert store.received(file) == 0


def test_a_file_without_end_is_cut_off(halves, tmp_path):
    store, file = opened(tmp_path), halves[0][0].files[0]
    store.receive(file, bytes(file.stored_bytes))
    with pytest.raises(UpdateError, match="more than"):
        store.receive(file, b"x")
    assert store.received(file) == 0


def test_a_packed_file_that_unpacks_to_more_is_refused(halves, tmp_path):
    import zstandard

    store = opened(tmp_path)
    bomb = zstandard.ZstdCompressor().compress(bytes(50_000_000))
    artefact, contents = halves[0]
    file = dataclasses.replace(
        artefact.files[0], stored_sha256=hashlib.sha256(bomb).hexdigest(), stored_bytes=len(bomb), packing=ZSTD
    )
    artefact = dataclasses.replace(artefact, files=(file, *artefact.files[1:]))
    store.receive(file, bomb)
    rest = artefact.files[1]
    store.receive(rest, contents[rest.name].read_bytes())
    with pytest.raises(UpdateError, match="not what was signed"):
        store.install([artefact], None, TRUST, {})
    assert store.state.models() == [] and not any(path.name.startswith(".new") for path in tmp_path.iterdir())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_loses_nothing(number, halves, tmp_path):
    class Full(DurableFiles):
        def step(self, what, path):
            if what == "apply":
                raise OSError(number, "full")

    whole_life(store := opened(tmp_path), halves[0])
    store.release()
    store = opened(tmp_path, Full())
    with pytest.raises(OutputError, match="is full: free some"):
        get(store, halves[1])
    assert store.current.version == 1 and digest_of(store.current.folder) == halves[0][0].result
    store.release()
    whole_life(store := opened(tmp_path), halves[1])  # what was downloaded is still there
    assert store.current.version == 2


def test_an_artefact_that_the_disk_has_no_room_for_is_not_begun(halves, tmp_path, monkeypatch):
    store = opened(tmp_path)
    usage = dataclasses.make_dataclass("Usage", ["total", "used", "free"])
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(10, 10, 1000))
    with pytest.raises(OutputError, match="is full"):
        store.check_room(halves[0][0])


def test_the_longest_unused_models_go_first_and_those_in_use_never(halves, tmp_path):
    store = ModelStore(tmp_path, most_bytes=1)
    store.own()
    for half in halves:
        whole_life(store, half)
    store.clear()
    assert len(store.state.models()) == 2  # current and previous
    store.state.add(dataclasses.replace(store.current, folder=tmp_path / "9-old.torch", version=9))
    (tmp_path / "9-old.torch").mkdir()
    store.clear()
    assert sorted(model.version for model in store.state.models()) == [1, 2]
    assert not (tmp_path / "9-old.torch").exists()


def test_files_that_are_here_already_are_found_by_their_content(halves):
    artefact, contents = halves[0]
    folder = contents["manifest.json"].parent
    assert set(files_of(folder, artefact)) == {file.sha256 for file in artefact.files}
    assert files_of(folder, halves[1][0]) == {}


def test_a_store_of_newer_software_is_left_alone(tmp_path):
    import sqlite3

    store = opened(tmp_path)
    assert store.current is None
    database = sqlite3.connect(tmp_path / "models.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ConfigError, match="format 99"):
        store.state.models()


def test_a_damaged_file_of_the_store_says_what_to_do(tmp_path):
    (tmp_path / "models.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="--models"):
        ModelStore(tmp_path).own()
