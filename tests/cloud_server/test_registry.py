"""The registry: bundles come, change, break and go, and the engine's frames go on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_server import registry as registry_module
from cloud_server.engine import Engine
from cloud_server.registry import Registry
from splitnet.errors import BundleError, BundleMismatchError
from splitnet.manifest import load_manifest
from tests.support.fake_model import FakeModel
from tests.support.tiny_bundle import write_tiny_bundle


@pytest.fixture
def engine() -> Iterator[Engine[bytes]]:
    engine: Engine[bytes] = Engine(1, 4)
    engine.start(lambda *_: None)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two bundles. Do not change them."""
    folder = tmp_path_factory.mktemp("originals")
    for seed in (0, 1):
        write_tiny_bundle(folder / str(seed), seed=seed)
    return [folder / "0", folder / "1"]


@pytest.fixture
def folder(originals: list[Path], tmp_path: Path) -> Path:
    """Return a folder with one bundle, "a"."""
    shutil.copytree(originals[0], tmp_path / "a")
    return tmp_path


def load(folder: Path) -> FakeModel:
    """Load a bundle without its weights; one with a file named "broken" does not load."""
    if (folder / "broken").exists():
        raise BundleError(f"{folder} is broken")
    return FakeModel(load_manifest(folder).digest)


def registry(engine: Engine[bytes], *sources: Path) -> Registry[bytes]:
    registry = Registry(engine, sources, load)
    registry.refresh()
    return registry


def test_a_bundle_is_found_by_its_digest_and_is_warm(engine, folder):
    served = registry(engine, folder / "a")
    model = served.find(load_manifest(folder / "a").digest)
    assert served.models == [model] and model.warm_ups


def test_several_bundles_are_served_side_by_side_the_first_is_the_default(engine, originals):
    served = registry(engine, originals[1], originals[0])
    assert [model.digest for model in served.models] == [load_manifest(path).digest for path in originals[::-1]]


def test_of_several_bundles_for_the_same_devices_the_first_is_found(engine, originals):
    served = registry(engine, *originals)
    first, second = served.models
    second.device_digest = first.digest
    assert served.find(first.digest) is first
    first.device_digest = "00" * 32
    assert served.find(first.digest) is second


def test_an_unknown_digest_is_refused_with_what_is_served(engine, folder):
    served = registry(engine, folder)
    with pytest.raises(BundleMismatchError, match=load_manifest(folder / "a").digest):
        served.find("00" * 32)


def test_without_a_digest_the_default_bundle_is_found(engine, originals):
    served = registry(engine, *originals)
    assert served.find("") is served.models[0]


def test_a_refusal_names_only_some_of_many_bundles(engine, originals, monkeypatch):
    monkeypatch.setattr(registry_module, "MAX_NAMED", 1)
    first = load_manifest(originals[0]).digest
    with pytest.raises(BundleMismatchError, match=rf"coco-nano \({first}\) and 1 more; the device has 00"):
        registry(engine, *originals).find("00" * 32)


def test_looking_again_changes_nothing_if_nothing_has_changed(engine, folder):
    served = registry(engine, folder)
    before = list(served.models)
    changes = served.refresh()
    assert (changes.loaded, changes.retired, changes.refused) == ((), (), ())
    assert list(served.models) == before


def test_a_new_bundle_is_loaded_and_one_that_is_gone_is_retired(engine, folder, originals):
    served = registry(engine, folder)
    shutil.copytree(originals[1], folder / "b")
    shutil.rmtree(folder / "a")
    changes = served.refresh()
    digests = [load_manifest(path).digest for path in originals]
    assert changes.loaded == (f"coco-nano ({digests[1][:12]})",)
    assert changes.retired == (f"coco-nano ({digests[0][:12]})",)
    with pytest.raises(BundleMismatchError):
        served.find(digests[0])


def test_a_bundle_that_is_renamed_is_not_loaded_twice(engine, folder):
    served = registry(engine, folder)
    before = list(served.models)
    (folder / "a").rename(folder / "z")
    changes = served.refresh()
    assert not changes.loaded and not changes.retired and list(served.models) == before


@pytest.mark.parametrize("damage", ["manifest", "weights"])
def test_a_folder_that_breaks_is_refused_and_its_old_bundle_goes_on(engine, folder, originals, damage):
    served = registry(engine, folder)
    before = list(served.models)
    if damage == "manifest":
        (folder / "a" / "manifest.json").write_text("{")
    else:
        shutil.copy(originals[1] / "manifest.json", folder / "a")
        (folder / "a" / "broken").touch()
    changes = served.refresh()
    assert len(changes.refused) == 1 and str(folder / "a") in changes.refused[0]
    assert list(served.models) == before and not changes.retired


def test_a_broken_newcomer_is_refused_and_the_others_are_loaded(engine, folder, originals):
    served = registry(engine, folder)
    for name in ("b", "c"):
        shutil.copytree(originals[1], folder / name)
    (folder / "b" / "broken").touch()
    changes = served.refresh()
    assert len(changes.loaded) == 1 and len(changes.refused) == 1 and len(served.models) == 2


def test_a_bundle_that_does_not_run_here_is_refused(engine, folder):
    class Large(FakeModel):
        def prepare(self) -> None:
            raise RuntimeError("out of memory")

    def too_large(path: Path) -> FakeModel:
        raise RuntimeError("out of memory")

    for load_model in (lambda path: Large(), too_large):
        with pytest.raises(BundleError, match="cannot be run here: out of memory"):
            Registry(engine, [folder], load_model).refresh()


def test_the_last_bundle_stays_when_all_folders_are_gone(engine, folder):
    served = registry(engine, folder)
    before = list(served.models)
    shutil.rmtree(folder / "a")
    with pytest.raises(BundleError):
        served.refresh()
    assert list(served.models) == before
