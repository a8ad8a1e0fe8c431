"""The video benchmark on a small clip and the tiny bundle, and its figures on made-up curves."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.video import settings as benchmark_settings
from benchmarks.video.beside import read_beside
from benchmarks.video.delay import delayed
from benchmarks.video.fidelity import fidelity, labelled_ap
from benchmarks.video.frame_filter import DIFFERENCES, FilteredVideo
from benchmarks.video.frame_labels import read_labels
from benchmarks.video.tiled_latents import frame_sides, tiled, untiled
from benchmarks.video.video_codec import VideoCodec
from benchmarks.video.video_figures import ALL_RIVALS, ALONE, OURS, ratios
from benchmarks.video.video_tables import consistency
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec


@pytest.fixture(scope="module")
def clip(tmp_path_factory, photo):
    """Return a video of 8 frames: a photograph with a grey square that moves."""
    path = tmp_path_factory.mktemp("clips") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (128, 96))
    for number in range(8):
        frame = cv2.resize(photo, (128, 96))
        frame[40:60, 8 * number : 8 * number + 20] = 128
        writer.write(frame)
    writer.release()
    return path


def found(*boxes: tuple[float, ...], score: float = 0.9) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(count, 4), np.full(count, score, np.float32), np.zeros(count, np.int64)
    )


@pytest.fixture(scope="module")
def measured_file(tmp_path_factory, tiny_bundle, clip):
    """Return the figures of every system on the clip."""
    out = tmp_path_factory.mktemp("measured") / "video.json"
    options = ["--bundle", str(tiny_bundle), "--clips", str(clip), "--made", "--qualities", "0", "2"]
    with pytest.MonkeyPatch.context() as patch:  # a few settings of each are enough
        patch.setattr(benchmark_settings, "CRFS", (30,))
        patch.setattr(benchmark_settings, "TILED_CRFS", (20,))
        patch.setattr(benchmark_settings, "IMAGE_QUALITIES", {Codec.JPEG: (10,), Codec.WEBP: (5,)})
        patch.setattr(benchmark_settings, "FILTERED_JPEG", (10,))
        patch.setattr(benchmark_settings, "THRESHOLDS", {"pixel": (0.04,)})
        assert main(["video", *options, "--time-frames", "2", "--out", str(out)]) == 0
    return out


def test_each_system_is_measured_on_the_clip(measured_file):
    (measured,) = json.loads(measured_file.read_text())["clips"]
    assert (measured["name"], measured["frames"]) == ("clip", 8)
    rows = {(row["system"], row["setting"]): row for row in measured["rows"]}
    alone, changes = rows["split alone", "w4 q2"], rows[OURS, "w4 q2"]
    assert changes["bytes_first"] == alone["bytes_first"]
    assert changes["bytes_mean"] < alone["bytes_mean"]
    assert {system for system, _ in rows} == {
        OURS, "split alone", "jpeg", "webp", "x264 veryfast", "x264 ultrafast", "x265 ultrafast", "latents by x264",
        "latents by x265", "filtered jpeg", "filtered split",
    }  # fmt: skip
    assert all(row["device_ms"] > 0 and row["device_cpu_ms"] > 0 for row in rows.values())
    assert rows["filtered jpeg", "q 10, pixel 0.04"]["bytes_mean"] < rows["jpeg", "q 10"]["bytes_mean"]
    assert all(row["ap"] is None for row in rows.values())
    assert all(measured_file.with_name(f"video-{theme}.png").stat().st_size for theme in ("light", "dark"))


def test_times_are_taken_anew_and_the_other_figures_stay(measured_file, tmp_path, tiny_bundle, clip):
    before = json.loads(measured_file.read_text())
    for row in before["clips"][0]["rows"]:
        row["device_ms"] = -1.0
    old, out = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(json.dumps(before))
    options = ["--bundle", str(tiny_bundle), "--clips", str(clip), "--made", "--qualities", "0", "--time-frames", "1"]
    assert main(["video", *options, "--times-of", str(old), "--systems", "split", "--out", str(out)]) == 0
    after = json.loads(out.read_text())
    assert after["ratios"] == before["ratios"]
    for new, was in zip(after["clips"][0]["rows"], before["clips"][0]["rows"], strict=True):
        timed = new["system"].startswith("split") and new["setting"] == "w4 q0"
        assert (new["device_ms"] > 0) == timed
        assert (new["bytes_mean"], new["fidelity"]) == pytest.approx((was["bytes_mean"], was["fidelity"]), nan_ok=True)


def test_times_of_another_bundle_s_figures_are_refused(tmp_path, tiny_bundle, clip, capsys):
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"bundle": {"digest": "00"}, "clips": []}))
    assert main(["video", "--bundle", str(tiny_bundle), "--clips", str(clip), "--times-of", str(other)]) == 2
    assert "of another bundle" in capsys.readouterr().err


def labels_beside(folder, **changed: object):
    """Write labels of two frames beside a clip in a folder, and return the clip."""
    content = {
        "categories": [{"id": 7, "name": "dog"}, {"id": 9, "name": "unknown"}],
        "images": [{"id": 0}, {"id": 6}],
        "annotations": [
            {"image_id": 6, "category_id": 7, "bbox": [10, 20, 30, 40]},
            {"image_id": 6, "category_id": 9, "bbox": [0, 0, 5, 5]},
        ],
    }
    (folder / "clip.json").write_text(json.dumps(content | changed))
    return folder / "clip.mp4"


def test_labels_beside_a_clip_are_of_its_frames_by_number(tmp_path):
    labels = read_labels(labels_beside(tmp_path), ("cat", "dog"))
    assert sorted(labels) == [0, 6]
    assert len(labels[0]) == 0
    assert labels[6].boxes.tolist() == [[10.0, 20.0, 40.0, 60.0]]
    assert labels[6].labels.tolist() == [1]
    assert read_labels(tmp_path / "other.mp4", ("cat",)) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"annotations": []}, "labels no object of the bundle's classes"),
        ({"categories": [{"id": 7}]}, "does not label frames as COCO labels images"),
        ({"annotations": [{"image_id": 5, "category_id": 7, "bbox": [0, 0, 1, 1]}]}, "does not label frames"),
        ({"annotations": [{"image_id": 6, "category_id": 7, "bbox": [0, 0]}]}, "does not label frames"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path, changed, message):
    with pytest.raises(ConfigError, match=message):
        read_labels(labels_beside(tmp_path, **changed), ("cat", "dog"))


def test_ap_is_averaged_over_the_classes_that_are_labelled():
    box, other = (10.0, 10.0, 50.0, 50.0), (60.0, 60.0, 90.0, 90.0)
    truth = Detections(np.float32([box, other]), np.ones(2, np.float32), np.int32([0, 1]))
    half = Detections(np.float32([box, other]), np.float32([0.9, 0.8]), np.int32([0, 0]))
    assert labelled_ap([truth], [truth]) == pytest.approx(100.0)
    assert labelled_ap([truth], [half]) == pytest.approx(50.0, abs=0.1)


def test_the_video_codec_returns_each_image_at_once():
    codec = VideoCodec("libx264", "ultrafast", 20, (64, 48))
    for level in (40, 90, 200):
        image = np.full((48, 64, 3), level, np.uint8)
        assert np.abs(codec.decode(codec.encode(image)).astype(int) - level).max() <= 4


def test_fidelity_is_of_the_reference_s_certain_boxes_whatever_their_class():
    certain, faint = (10.0, 10.0, 50.0, 50.0), (60.0, 60.0, 90.0, 90.0)
    reference = [found(certain), found(faint, score=0.2)]
    assert fidelity(reference, [found(certain), found()]) == pytest.approx(100.0)
    assert fidelity(reference, [found(faint), found()]) == 0.0
    assert fidelity(reference, [found(), found()]) == 0.0
    assert np.isnan(fidelity([found()], [found(certain)]))


def rows_of(system: str, factor: float) -> list[dict[str, object]]:
    return [
        {"system": system, "bytes_mean": factor * size, "fidelity": fidelity}
        for size, fidelity in ((100, 20.0), (200, 50.0), (400, 80.0))
    ]


def test_bytes_are_compared_at_equal_fidelity_in_thirds():
    clip = {"name": "road", "rows": [*rows_of(OURS, 1), *rows_of("x264", 3), *rows_of("far", 1e6)]}
    by_rival = {row["rival"]: row for row in ratios(clip)}
    assert by_rival["x264"] | {"clip": "road"} == {
        "clip": "road",
        "rival": "x264",
        "from": 20.0,
        "to": 80.0,
        "lower": 0.333,
        "middle": 0.333,
        "upper": 0.333,
        "bd_rate": -66.7,
    }
    assert by_rival[ALL_RIVALS]["lower"] == 0.333  # of both rivals the nearer


def test_curves_that_do_not_meet_give_no_ratio():
    clip = {"name": "road", "rows": [*rows_of(OURS, 1), {"system": "x", "bytes_mean": 9.0, "fidelity": 90.0}]}
    assert [row["lower"] for row in ratios(clip)] == [None, None]


@pytest.mark.parametrize("options", [["--frames", "2"], ["--look-every", "0"]])
def test_numbers_that_cannot_be_are_refused(tiny_bundle, clip, options, capsys):
    assert main(["video", "--bundle", str(tiny_bundle), "--clips", str(clip), *options]) == 2
    assert "must be at least" not in capsys.readouterr().out


def test_a_stronger_detector_s_boxes_are_a_second_measure():
    rows = [row | {"fidelity_judge": 50.0 - row["fidelity"] / 10} for row in (*rows_of(OURS, 1), *rows_of("x264", 2))]
    clip = {"name": "road", "rows": rows}
    assert {row["rival"] for row in ratios(clip, "fidelity_judge")} == {"x264", ALL_RIVALS}


@pytest.mark.parametrize("shape", [(96, 15, 26), (5, 3, 7), (1, 1, 1)])
def test_tiled_latents_come_back_and_what_is_too_large_is_cut_off(shape):
    symbols = np.random.default_rng(0).integers(-140, 140, shape).astype(np.int16)
    frame = tiled(symbols)
    assert frame.shape == frame_sides(shape)
    np.testing.assert_array_equal(untiled(frame, shape), np.clip(symbols, -31, 31))


class Passing:
    """Sends a frame's first pixel, and finds nothing."""

    def encode(self, canvas):
        return bytes([canvas[0, 0, 0]])

    def receive(self, payload):
        return payload[0]

    def look(self, received):
        return found()


@pytest.mark.parametrize("feature", sorted(DIFFERENCES))
def test_a_filter_sends_what_differs_from_the_last_frame_that_it_sent(feature):
    system = FilteredVideo(Passing(), feature, 0.01)
    frames = [np.full((64, 64, 3), level, np.uint8) for level in (10, 12, 14)]
    frames[2][20:40, 20:40] = 255
    payloads = [system.encode(frame) for frame in frames]
    assert payloads == [b"\x0a", b"", b"\x0e"]
    assert [system.receive(payload) for payload in payloads] == [10, 10, 14]


def test_boxes_that_move_evenly_are_better_once_they_are_moved_on():
    frames = [found((10.0 + 6 * number, 10.0, 60.0 + 6 * number, 50.0)) for number in range(12)]
    at_once, late = (delayed(frames, by, 10.0, (400, 300)) for by in (0, 2))
    assert at_once == {"delay_ms": 0, "as_it_was": 100.0, "moved_on": 100.0}
    assert late["delay_ms"] == 200 and late["as_it_was"] + 20 < late["moved_on"]


def test_late_boxes_are_measured_on_a_clip(tmp_path, tiny_bundle, clip):
    out = tmp_path / "delay.json"
    options = ["--bundle", str(tiny_bundle), "--clips", str(clip), "--frames", "5", "--most-ms", "100"]
    assert main(["delay", *options, "--out", str(out)]) == 0
    assert [(row["clip"], row["delay_ms"]) for row in json.loads(out.read_text())["rows"]] == [
        ("clip", 0),
        ("clip", 100),
    ]


def curves_beside(path, **changed: object):
    rows = [{"system": "other", "setting": f"s{n}", "bytes_mean": 100.0 * n, "fidelity": 20.0 * n} for n in (1, 2, 3)]
    path.write_text(json.dumps({"clips": [{"name": "clip", "rows": [row | changed for row in rows]}]}))
    return path


def test_another_system_s_curves_are_read_by_clip_and_named_by_their_file(tmp_path):
    rows = read_beside([curves_beside(tmp_path / "theirs.json")])["clip"]
    assert rows[1] == {"system": "other (theirs)", "setting": "s2", "bytes_mean": 200.0, "fidelity": 40.0}
    ours = [{"system": OURS, "setting": f"q{n}", "bytes_mean": 50.0 * n, "fidelity": 20.0 * n} for n in (1, 2, 3)]
    found = {row["rival"]: row for row in ratios({"name": "clip", "rows": [*ours, *rows]})}
    assert found["other (theirs)"]["bd_rate"] == pytest.approx(-50.0)


@pytest.mark.parametrize("changed", [{"bytes_mean": "many"}, {"fidelity": None}, {"bytes_mean": float("nan")}])
def test_curves_of_another_shape_are_refused_and_say_which_is_wanted(tmp_path, changed):
    with pytest.raises(ConfigError, match=r"theirs.json is not of the shape .*bytes_mean"):
        read_beside([curves_beside(tmp_path / "theirs.json", **changed)])


def test_a_bundle_beside_is_compared_way_by_way():
    rows = [
        {"system": f"{system}{of}", "setting": f"q{n}", "bytes_mean": size * n, "fidelity": 20.0 * n}
        for system, of, size in ((OURS, "", 50.0), (ALONE, "", 90.0), (OURS, " (old)", 100.0), (ALONE, " (old)", 100.0))
        for n in (1, 2, 3)
    ]
    table = consistency({"clips": [{"name": "clip", "rows": rows}]})
    assert table.splitlines()[2:] == [
        "| `clip` | as changes | 20 to 60 | 0.50 | 0.50 | 0.50 | -50 % |",
        "| `clip` | whole | 20 to 60 | 0.90 | 0.90 | 0.90 | -10 % |",
    ]
