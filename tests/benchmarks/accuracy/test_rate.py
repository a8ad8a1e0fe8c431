"""The rate benchmark: figures of given samples exactly, and a whole run on a tiny bundle."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.accuracy import image_rivals, rate
from benchmarks.accuracy.image_rivals import ImageRival, Setting, scaled, settings
from benchmarks.accuracy.rate_figures import ANY, Measured, bd_rows, fronts, lead_rows, points_of
from benchmarks.accuracy.rate_plot import draw_rate, spread
from benchmarks.accuracy.resampling import Sample
from benchmarks.harness.bootstrap import draw
from splitnet.bundle import load_server
from splitnet.letterbox import Letterbox
from splitnet.manifest import load_manifest
from tests.support.labelled_images import write_labelled
from tests.support.tiny_bundle import write_tiny_bundle
from training.evaluation.matches import ClassMatches, Matches
from training.evaluation.measure import Tally

SETTINGS = {setting.name: setting for setting in settings()}


def point(curve: str, sizes: list[float], ap: list[float], size: int = 416) -> Measured:
    """Return a point; its values are the measured one and those of each resample."""
    sample = Sample(np.array(ap), np.array(ap) + 1, np.array(sizes))
    setting = "split" if curve.startswith("w") and curve != "webp" else f"{curve} best"
    return Measured(curve, setting, size, 0, 1.0, 2.0, 3.0, sample)


POINTS = [
    point("w1", [500.0, 500.0, 250.0], [10.0, 10.0, 10.0]),
    point("w1", [2000.0, 2000.0, 1000.0], [20.0, 20.0, 20.0]),
    *(point(codec, [1000.0] * 3, [10.0] * 3) for codec in ("jpeg", "webp", "avif")),
    *(point(codec, [4000.0] * 3, [20.0] * 3) for codec in ("jpeg", "webp", "avif")),
    point("avif", [500.0] * 3, [10.0] * 3, size=208),
]


def test_resamples_have_as_many_images_and_the_first_is_the_set_itself():
    counts = draw(7, 50, seed=3)
    assert counts.shape == (51, 7)
    assert counts[0].tolist() == [1] * 7
    assert (counts.sum(axis=1) == 7).all()
    assert np.array_equal(counts, draw(7, 50, seed=3))
    assert not np.array_equal(counts, draw(7, 50, seed=4))


def test_a_sample_counts_each_image_as_often_as_its_resample():
    every = np.ones((10, 1), np.bool_)
    found = ClassMatches(np.array([0]), every, ~every, np.array([1, 1]))  # found in the first image only
    sample = Sample.of(Matches(2, (found,)), Tally(sizes=[100, 300]), np.array([[1, 1], [2, 0], [0, 2]]))
    assert sample.ap.tolist() == pytest.approx([100 * 51 / 101, 100.0, 0.0])
    assert sample.ap50.tolist() == sample.ap.tolist()
    assert sample.bytes_mean.tolist() == [200.0, 100.0, 300.0]


def test_bd_rates_compare_curves_resample_by_resample():
    rows = {(row["rival"], row["sizes"]): row for row in bd_rows(POINTS, ["w1"])}
    half = rows["webp", "any"]
    assert (half["bd_rate_percent"], half["ap_from"], half["ap_to"]) == (-50.0, 10.0, 20.0)
    assert (half["low"], half["high"]) == pytest.approx((-50.0, -1.72), abs=0.02)  # half the bytes, once a quarter
    assert rows["avif", "416"]["bd_rate_percent"] == -50.0
    # the small image makes the front one octave cheaper at its low end: half an octave on average
    assert rows["avif", "any"]["bd_rate_percent"] == pytest.approx(100 * (0.5 * 2**0.5 - 1), abs=0.02)


def test_curves_that_share_no_accuracy_have_no_bd_rate():
    points = [*POINTS[2:], point("w1", [100.0] * 3, [5.0] * 3)]
    assert {row["bd_rate_percent"] for row in bd_rows(points, ["w1"])} == {None}
    assert {row["low"] for row in bd_rows(points, ["w1"])} == {None}


def test_leads_are_at_equal_bytes_and_only_where_the_curve_has_begun():
    rows = {(row["rival"], row["kilobytes"]): row for row in lead_rows(POINTS, ["w1"])}
    at_one = rows["jpeg", 1.0]
    assert (at_one["ap"], at_one["rival_ap"], at_one["lead"]) == (15.0, 10.0, 5.0)
    assert (at_one["low"], at_one["high"]) == pytest.approx((0.12, 5.0), abs=0.02)  # 5, once 10
    assert rows["jpeg", 0.5]["rival_ap"] is None
    assert rows["jpeg", 0.5]["lead"] is None
    later = [point("w1", [600.0] * 3, [10.0] * 3), *POINTS[2:]]
    assert 0.5 not in {row["kilobytes"] for row in lead_rows(later, ["w1"])}


def test_the_best_of_all_widths_is_a_curve_of_its_own():
    wider = [point("w2", [1000.0] * 3, [18.0] * 3), point("w2", [2000.0] * 3, [19.0] * 3)]
    points = [*POINTS, *wider]
    (row,) = (r for r in lead_rows(points, [ANY]) if (r["rival"], r["kilobytes"]) == ("jpeg", 1.0))
    assert (row["ap"], row["rival_ap"]) == (18.0, 10.0)  # w1 has 15 there
    assert {one.curve for one in points_of(points, ANY)} == {"w1", "w2"}
    assert points_of(points, "w2") == wider
    assert {row["curve"] for row in bd_rows(points, [ANY])} == {ANY}


def test_a_front_of_each_resample_leaves_out_what_is_beaten_there():
    first, second = fronts([point("w1", [100.0, 100.0], [5.0, 9.0]), point("w1", [200.0, 200.0], [6.0, 8.0])])
    assert first.ap.tolist() == [5.0, 6.0]
    assert second.ap.tolist() == [9.0]


def test_names_move_up_just_so_far_that_they_can_be_read():
    assert spread([3.0, 1.0, 1.5], 1.0) == [3.0, 1.0, 2.0]
    assert spread([1.0, 1.0, 1.0], 0.5) == [1.0, 1.5, 2.0]
    assert spread([], 1.0) == []


@pytest.mark.parametrize("name", SETTINGS)
def test_a_codec_gives_back_an_image_much_like_the_one_it_took(name, photo):
    image = scaled(photo, 208)
    assert image.shape == (156, 208, 3)
    payload = SETTINGS[name].compress(image, 80)
    kinds = {"jpeg": payload[:2] == b"\xff\xd8", "webp": payload[8:12] == b"WEBP", "avif": payload[4:12] == b"ftypavif"}
    assert kinds[SETTINGS[name].codec]
    decoded = image_rivals._decoded(payload)
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).mean() < 6
    assert len(SETTINGS[name].compress(image, 10)) < 0.5 * len(payload)


def test_the_best_settings_take_fewer_bytes(photo):
    def sizes(name):
        return len(SETTINGS[name].compress(photo, 40))

    assert sizes("jpeg progressive") < sizes("jpeg")
    assert sizes("webp method 6") <= sizes("webp")
    assert sizes("avif speed 6") < sizes("avif speed 8") < sizes("webp method 6")


def test_a_small_image_is_scaled_up_to_where_the_detector_looks_for_it(photo):
    seen = []

    def detector(image):
        seen.append(image[0].permute(1, 2, 0).numpy())
        return image

    def lossless(image, quality):
        return cv2.imencode(".png", image)[1].tobytes()

    detector.name = "yolox-nano"
    box = Letterbox.fit(640, 480, 416)
    for share in (1.0, 0.5):
        one = ImageRival(detector, 416, Setting("png", "png", lossless, {}), share, 0)
        one.raw(one.compress(photo, box), box)
    assert np.array_equal(seen[0][:312], box.apply(photo)[:312])
    assert (seen[1][312:] == 114).all()
    assert np.abs(seen[1][:312] - seen[0][:312]).mean() < 10


@pytest.fixture(autouse=True)
def _own_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def few(monkeypatch):
    """Leave one quality of every setting at each size: the same code in a fraction of the time."""
    every = settings()
    few = tuple(Setting(s.name, s.codec, s.compress, {share: q[:1] for share, q in s.sizes.items()}) for s in every)
    monkeypatch.setattr(image_rivals, "settings", lambda: few)
    return sum(len(setting.sizes) for setting in few)


def arguments(bundle: Path, folder: Path, *more: str) -> list[str]:
    return [
        *("rate", "--bundle", str(bundle), "--images", str(folder), "--annotations", str(folder / "annotations.json")),
        *("--threads", "1", "--resamples", "5", *more),
    ]


def test_a_whole_run_prints_a_table_writes_the_figures_and_draws_them(tiny_bundle, tmp_path, few, capsys):
    write_labelled(tmp_path / "labelled", load_manifest(tiny_bundle).class_names)
    out = tmp_path / "results" / "rate.json"
    assert main(arguments(tiny_bundle, tmp_path / "labelled", "--widths", "1", "4", "--out", str(out))) == 0
    result = json.loads(out.read_text())
    assert {"commit", "machine", "bundle", "unsplit", "points", "bd_rate"} <= set(result)
    assert (result["images"], result["resamples"], result["rivals_detector"]) == (3, 5, "bundled")
    split = [row for row in result["points"] if row["setting"] == "split"]
    assert [(row["curve"], row["quality"]) for row in split] == [(w, q) for w in ("w1", "w4") for q in range(3)]
    assert len(result["points"]) == len(split) + few
    assert {row["size"] for row in result["points"]} == {64, 49, 39, 32}
    assert all(row["bytes_mean"] > 0 and row["encode_ms_p50"] > 0 for row in result["points"])
    assert result["unsplit"][0]["mmacs"] > 0
    assert "bd_rate_percent" in capsys.readouterr().out
    for name in ("light", "dark"):
        assert cv2.imread(str(out.with_name(f"rate-{name}.png"))).shape[1] == 1200


def test_the_rivals_may_go_through_the_public_detector(tiny_bundle, tmp_path, few, monkeypatch):
    write_labelled(tmp_path, load_manifest(tiny_bundle).class_names)
    detector = load_server(tiny_bundle).detector
    monkeypatch.setattr(rate, "read_onnx", lambda *_: detector)
    out = tmp_path / "rate.json"
    more = ["--widths", "1", "--limit", "1", "--public-detector", "x.onnx", "--out", str(out)]
    assert main(arguments(tiny_bundle, tmp_path, *more)) == 0
    result = json.loads(out.read_text())
    assert result["rivals_detector"] == "public"
    assert [row["detector"] for row in result["unsplit"]] == ["bundled", "public"]


def test_another_split_is_a_rival_of_its_bundles_name(tiny_bundle, tmp_path, monkeypatch):
    one = (Setting("jpeg", "jpeg", SETTINGS["jpeg"].compress, {1.0: (50,)}),)
    monkeypatch.setattr(image_rivals, "settings", lambda: one)
    monkeypatch.setattr(rate, "draw_rate", lambda *_: None)
    write_tiny_bundle(tmp_path / "other", seed=1)
    write_labelled(tmp_path, load_manifest(tiny_bundle).class_names)
    out = tmp_path / "rate.json"
    more = ["--widths", "1", "--limit", "1", "--resamples", "2", "--rival-bundles", str(tmp_path / "other")]
    assert main(arguments(tiny_bundle, tmp_path, *more, "--out", str(out))) == 0
    result = json.loads(out.read_text())
    rows = [(row["curve"], row["setting"]) for row in result["points"] if row["curve"] == "tiny-1"]
    assert rows == [("tiny-1", f"bundle w{width}") for width in (1, 2, 3, 4) for _ in range(3)]
    assert {row["curve"] for row in result["bd_rate"]} == {"w1"}
    assert {"tiny-1", "jpeg"} <= {row["rival"] for row in result["bd_rate"]}


def test_a_split_is_no_rival_of_itself(tiny_bundle, tmp_path, capsys):
    write_labelled(tmp_path, load_manifest(tiny_bundle).class_names)
    assert main(arguments(tiny_bundle, tmp_path, "--rival-bundles", str(tiny_bundle))) == 2
    assert "has the name of the bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--limit", "0"], "--limit must be at least 1"),
        (["--resamples", "0"], "--resamples must be at least 1"),
        (["--widths", "9"], "widths 1..4"),
    ],
)
def test_what_would_fail_later_is_said_at_once(tiny_bundle, tmp_path, capsys, more, words):
    write_labelled(tmp_path, load_manifest(tiny_bundle).class_names)
    assert main(arguments(tiny_bundle, tmp_path, *more)) == 2
    assert words in capsys.readouterr().err


def test_a_plot_can_be_drawn_again_from_the_figures(tmp_path):
    rows = [one.row() for one in POINTS]
    unsplit = [{"detector": "bundled", "ap": 28.7}, {"detector": "public", "ap": 29.3}]
    draw_rate(tmp_path / "rate.json", {"points": rows, "unsplit": unsplit, "images": 3})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rate-dark.png", "rate-light.png"]
