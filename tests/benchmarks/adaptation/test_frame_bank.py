"""The frame bank of a bundle against what `training evaluate` measures of the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.adaptation import frame_bank as module
from benchmarks.adaptation.effective_accuracy import FrameBank
from benchmarks.adaptation.frame_bank import frame_bank, make_bank
from splitnet.bundle import DeviceBundle
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.manifest import Accuracy
from splitnet.measured_point import MeasuredPoint
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from training.evaluation import measure as evaluating
from training.evaluation.average_precision import LabelledSet
from training.evaluation.measure import Tally, evaluate, measure_points

POINTS = [OperatingPoint(Codec.RANS, 1, 0), OperatingPoint(Codec.JPEG, 0, 30)]


def half_right(labelled: LabelledSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every point find the objects, shaken, with nonsense before them: no point the same."""
    rng = np.random.default_rng(3)
    truth = iter([found for found in labelled.truth() for _ in range(len(POINTS) + 1)] * 3)

    def shaken(*_: object) -> Detections:
        found = next(truth)
        boxes = np.concatenate([found.boxes + rng.normal(0, 3, found.boxes.shape), found.boxes + 30])
        scores = rng.random(len(boxes))
        return Detections(boxes.astype(np.float32), scores.astype(np.float32), np.tile(found.labels, 2))

    monkeypatch.setattr(evaluating, "found_in_frame", shaken)


def test_every_image_at_one_point_has_the_accuracy_that_was_measured_of_it(device, server, labelled, monkeypatch):
    half_right(labelled, monkeypatch)
    tallies: list[list[Tally]] = []
    monkeypatch.setattr(module, "measure_points", lambda *given: tallies.append(measure_points(*given)) or tallies[-1])
    bank = make_bank(device, server, labelled, POINTS)
    assert bank.points == (*POINTS, LOCAL)
    (measured,) = tallies
    images = range(len(labelled.images))
    seen = {}
    for point, tally in zip(bank.points, measured, strict=True):
        outcomes = [(i, point) for i in images]
        (expected,) = labelled.matches(tally.found).average_precision(np.ones((1, len(images))))
        assert bank.precision(outcomes) == pytest.approx(expected, abs=1e-9)
        assert bank.effective_ap(outcomes) == labelled.accuracy(tally.found)
        assert [bank.payload_bytes(i, point) for i in images] == tally.sizes
        seen[point] = bank.effective_ap(outcomes).ap
    assert len(set(seen.values())) == 3
    assert all(10 < ap < 100 for ap in seen.values())


def test_the_bank_says_the_same_as_the_evaluation(device, server, labelled):
    bank = make_bank(device, server, labelled, POINTS)
    measured = evaluate(device, server, labelled, POINTS)
    images = range(len(labelled.images))
    assert bank.effective_ap([(i, LOCAL) for i in images]) == measured.local
    for point, figures in zip(POINTS, measured.points, strict=True):
        assert bank.effective_ap([(i, point) for i in images]) == Accuracy(figures.ap, figures.ap50)
        assert bank.payload[:, bank.points.index(point)].mean() == pytest.approx(figures.bytes_mean, abs=0.06)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path, device: DeviceBundle, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bundle with measured points, whose bank goes to a folder of its own."""
    import shutil

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    points = tuple(
        MeasuredPoint(p.mode, p.codec, p.width, p.quality, 10.0, 20.0, 400.0, 500.0, 2.0, 1.0) for p in POINTS
    )
    device.manifest.with_measurements(Accuracy(25.0, 40.0), points).write(folder)
    return folder


def bank_of(bundle: Path, labelled: LabelledSet, limit: int | None = None) -> FrameBank:
    folder = labelled.images[0].path.parent
    return frame_bank(bundle, folder, folder / "annotations.json", limit)


def test_a_bank_is_made_once_for_the_same_bundle_and_images(bundle, labelled, monkeypatch):
    first = bank_of(bundle, labelled)
    assert bank_of(bundle, labelled, limit=2).images == 2
    monkeypatch.setattr(module, "make_bank", lambda *_: pytest.fail("made again"))
    again = bank_of(bundle, labelled)
    assert again.points == first.points
    assert np.array_equal(again.payload, first.payload)
    assert bank_of(bundle, labelled, limit=2).images == 2


def test_a_bank_that_was_interrupted_goes_on_without_asking_the_server_again(bundle, labelled, monkeypatch):
    monkeypatch.setattr(module, "assemble", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        bank_of(bundle, labelled)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(bundle.parent / "cache"))
    monkeypatch.setattr("training.evaluation.systems.SplitSystem.raw", lambda *_: pytest.fail("asked again"))
    monkeypatch.setattr("training.evaluation.systems.ImageSystem.raw", lambda *_: pytest.fail("asked again"))
    assert bank_of(bundle, labelled).images == len(labelled.images)


def test_a_bundle_that_was_never_measured_is_refused(tiny_bundle, labelled):
    with pytest.raises(ConfigError, match="no measured points"):
        bank_of(tiny_bundle, labelled)
