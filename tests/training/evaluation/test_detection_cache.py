"""DetectionCache of a server part: looked up once they are known, exact, and never those of other weights or code."""

from __future__ import annotations

from pathlib import Path

import diskcache
import numpy as np
import pytest

from splitnet.bundle import load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from tests.support.labelled_images import write_labelled
from training.evaluation import detection_cache as module
from training.evaluation.average_precision import LabelledSet
from training.evaluation.detection_cache import DECIDING, PROJECT, DetectionCache, code_digest, detection_cache_of
from training.evaluation.measure import measure_points
from training.evaluation.systems import ImageSystem, SplitSystem

POINTS = [OperatingPoint(Codec.RANS, 2, 1), OperatingPoint(Codec.JPEG, 0, 30), LOCAL]


def detections(count: int, seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    boxes, scores = rng.uniform(0, 640, (count, 4)), rng.random(count)
    return Detections(boxes.astype(np.float32), scores.astype(np.float32), rng.integers(0, 80, count, dtype=np.int32))


def same(one: Detections, other: Detections) -> bool:
    fields = ("boxes", "scores", "labels")
    return all(np.array_equal(getattr(one, f), getattr(other, f)) for f in fields) and all(
        getattr(one, f).dtype == getattr(other, f).dtype for f in fields
    )


def never() -> Detections:
    raise AssertionError("asked again")


@pytest.mark.parametrize("count", [0, 1, 300])
def test_an_answer_is_asked_for_once_and_kept_exactly(tmp_path: Path, count: int):
    found = detections(count)
    with DetectionCache(tmp_path / "deep" / "cache", "a") as cache:
        assert cache.get(b"question", lambda: found) is found
        assert same(cache.get(b"question", never), found)
    with DetectionCache(tmp_path / "deep" / "cache", "a") as again:
        assert same(again.get(b"question", never), found)


def test_another_question_has_another_answer(tmp_path: Path):
    with DetectionCache(tmp_path / "cache", "a") as cache:
        cache.get(b"one", lambda: detections(3))
        assert len(cache.get(b"other", lambda: detections(5))) == 5


def test_what_asking_raises_is_raised_and_nothing_kept(tmp_path: Path):
    def fail() -> Detections:
        raise ConfigError("no such image")

    with DetectionCache(tmp_path / "cache", "a") as cache:
        with pytest.raises(ConfigError, match="no such image"):
            cache.get(b"question", fail)
        assert len(cache.get(b"question", lambda: detections(2))) == 2


def test_other_weights_and_other_code_have_detections_of_their_own(tmp_path: Path, monkeypatch):
    asked = []
    for digest, code in (("a", "1"), ("b", "1"), ("a", "2"), ("a", "1")):
        monkeypatch.setattr(module, "code_digest", lambda code=code: code)
        with detection_cache_of(digest, tmp_path) as cache:
            cache.get(b"question", lambda key=(digest, code): asked.append(key) or detections(1))
    assert asked == [("a", "1"), ("b", "1"), ("a", "2")]


def test_it_lies_in_the_users_cache_folder(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.chdir(tmp_path)
    with detection_cache_of("digest") as cache:
        cache.get(b"question", lambda: detections(2))
    assert [path.name for path in tmp_path.iterdir()] == ["caches"]
    assert (tmp_path / "caches" / "slimsplit" / "detections").is_dir()


def test_a_folder_that_cannot_be_used_is_said_and_costs_nothing_else(tmp_path: Path, caplog):
    (tmp_path / "cache").touch()
    with DetectionCache(tmp_path / "cache", "a") as cache:
        assert len(cache.get(b"question", lambda: detections(2))) == 2
        assert len(cache.get(b"question", lambda: detections(3))) == 3
    assert f"{tmp_path}/cache keeps no detections" in caplog.text


def test_damaged_files_are_said_and_cost_nothing_else(tmp_path: Path, caplog):
    with DetectionCache(tmp_path / "cache", "a") as cache:
        cache.get(b"question", lambda: detections(2))
    for path in (tmp_path / "cache").glob("cache.db*"):
        path.write_bytes(b"not a database, but long enough to be taken for the header of one" * 20)
    with DetectionCache(tmp_path / "cache", "a") as cache:
        assert len(cache.get(b"question", lambda: detections(3))) == 3
    assert "keeps no detections" in caplog.text


@pytest.mark.parametrize("entry", [b"12345", "text", 7, None])
def test_an_entry_of_another_kind_is_asked_for_anew(tmp_path: Path, entry):
    with DetectionCache(tmp_path / "cache", "a") as cache:
        cache.get(b"question", lambda: detections(2))
        with diskcache.Cache(str(tmp_path / "cache")) as store:
            for key in store:
                store.set(key, entry)
        assert len(cache.get(b"question", lambda: detections(5))) == 5
        assert len(cache.get(b"question", never)) == 5


class Trap:
    def __reduce__(self):
        return pytest.fail, ("was unpickled",)


def test_a_cache_never_runs_code(tmp_path: Path):
    with DetectionCache(tmp_path / "cache", "a") as cache:
        cache.get(b"question", lambda: detections(2))
        with diskcache.Cache(str(tmp_path / "cache")) as store:
            for key in store:
                store.set(key, Trap())
        assert len(cache.get(b"question", lambda: detections(5))) == 5


def test_all_code_that_decides_is_where_it_is_looked_for():
    assert all((PROJECT / name).exists() for name in DECIDING)
    assert len(code_digest()) == 64


@pytest.fixture
def labelled(tiny_bundle: Path, tmp_path: Path) -> LabelledSet:
    names = load_device(tiny_bundle).manifest.class_names
    annotations = write_labelled(tmp_path / "labelled", names)
    return LabelledSet(annotations.parent, annotations, names)


def test_known_answers_change_nothing_and_spare_the_server_its_part(tiny_bundle, labelled, tmp_path, monkeypatch):
    device, server = load_device(tiny_bundle), load_server(tiny_bundle)
    plain = measure_points(device, server, labelled, POINTS)
    with DetectionCache(tmp_path / "cache", "a") as cache:
        first = measure_points(device, server, labelled, POINTS, cache)
        for part in (SplitSystem, ImageSystem):
            monkeypatch.setattr(part, "raw", lambda *_: pytest.fail("asked again"))
        again = measure_points(device, server, labelled, POINTS, cache)
    for one, two, three in zip(plain, first, again, strict=True):
        assert one.sizes == two.sizes == three.sizes
        assert all(len(tally.encode_ms) == len(labelled.images) for tally in (one, two, three))
        found = zip(one.found, two.found, three.found, strict=True)
        assert all(same(a, b) and same(a, c) for a, b, c in found)


def test_an_interrupted_measurement_goes_on(tiny_bundle, labelled, tmp_path, monkeypatch):
    device, server = load_device(tiny_bundle), load_server(tiny_bundle)
    asked, raw = [], SplitSystem.raw

    def interrupted(self, payload, box):
        asked.append(payload)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return raw(self, payload, box)

    monkeypatch.setattr(SplitSystem, "raw", interrupted)
    with DetectionCache(tmp_path / "cache", "a") as cache, pytest.raises(KeyboardInterrupt):
        measure_points(device, server, labelled, POINTS[:1], cache)
    with DetectionCache(tmp_path / "cache", "a") as cache:
        measure_points(device, server, labelled, POINTS[:1], cache)
    assert len(asked) == 2 + (len(labelled.images) - 1)  # the first image is known
