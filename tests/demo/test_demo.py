"""The demo: its moving viewport, its schedule and tables, and a short run with real processes."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from benchmarks.harness.processes import ServerProcess
from demo.__main__ import INTERRUPTED, main
from demo.answers import Answer, answer_from_record, frames_with, point_rows, read_answers
from demo.chart import draw_chart
from demo.client import ClientFiles, client_command, source_address
from demo.film import film, place, write_film
from demo.overview import GAP, HEADING_HEIGHT, choose, clip_indexes, tiled
from demo.schedule import frames_each, operating_points
from demo.summary import as_text, counted, point_table
from demo.viewport import CLOSEST, LOWEST, Viewport, viewport_at
from splitnet.errors import SourceError
from splitnet.manifest import load_manifest
from splitnet.operating_point import Codec, OperatingPoint
from tests.conftest import PROJECT

ANSWER = Answer(0.0, "w4 q2", 2000, encode_ms=20.0, end_to_end_ms=75.0, compute_ms=70.0, names=("cup", "table", "cup"))
RECORD = {
    "position_s": 1.5,
    "mode": "split",
    "codec": "rans",
    "width": 4,
    "quality": 2,
    "bytes": 2000,
    "encode_ms": 20.0,
    "end_to_end_ms": 75.0,
    "server": {"wait_ms": 1.0, "decode_ms": 0.5, "infer_ms": 50.0},
    "detections": [{"label": "cup", "score": 0.9, "box": [0, 0, 1, 1]}],
}


# The viewport.


def test_the_viewport_starts_at_the_top_left_as_large_as_fits():
    assert viewport_at(0.0, (600, 400), 4 / 3) == Viewport(0.0, 0.0, pytest.approx(400 * 4 / 3), pytest.approx(400))
    assert viewport_at(0.0, (512, 512), 4 / 3) == Viewport(0.0, 0.0, pytest.approx(512), pytest.approx(384))


def test_the_viewport_is_closest_halfway_and_in_the_middle():
    seen = viewport_at(0.5, (800, 600), 4 / 3)
    assert (seen.width, seen.height) == (pytest.approx(800 * CLOSEST), pytest.approx(600 * CLOSEST))
    assert seen.left == pytest.approx(100)
    assert seen.top == pytest.approx(150 * LOWEST)


def test_the_viewport_ends_at_the_right_as_large_as_at_the_start():
    seen = viewport_at(1.0, (600, 400), 4 / 3)
    assert seen.left + seen.width == pytest.approx(600)
    assert seen.height == pytest.approx(400)
    assert seen.top == pytest.approx(0.0)


@pytest.mark.parametrize("size", [(512, 512), (451, 300), (741, 500), (300, 700)])
def test_the_viewport_never_leaves_the_picture_and_never_jumps(size):
    path = [viewport_at(i / 100, size, 4 / 3) for i in range(101)]
    for seen in path:
        assert seen.left >= 0 and seen.top >= 0
        assert seen.left + seen.width <= size[0] + 1e-6
        assert seen.top + seen.height <= size[1] + 1e-6
        assert seen.width / seen.height == pytest.approx(4 / 3)
    steps = [math.dist((a.left, a.top), (b.left, b.top)) for a, b in pairwise(path)]
    assert max(steps) < 0.02 * max(size)


def test_a_cut_of_whole_pixels_is_exact():
    picture = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert np.array_equal(Viewport(2, 1, 4, 3).cut(picture, (4, 3)), picture[1:4, 2:6])


def test_a_cut_between_pixels_blends_them():
    picture = np.tile(np.arange(8, dtype=np.uint8)[None, :, None] * 10, (6, 1, 3))
    assert Viewport(1.5, 0, 4, 3).cut(picture, (4, 3))[0, :, 0].tolist() == [15, 25, 35, 45]


def test_a_cut_scales_to_the_size_asked_for():
    picture = np.full((30, 40, 3), 77, np.uint8)
    cut = Viewport(0, 0, 40, 30).cut(picture, (80, 60))
    assert cut.shape == (60, 80, 3)
    assert (cut == 77).all()


# The film and the schedule.


def test_every_photograph_gets_its_share_of_the_film():
    assert [place(number, 10, 5)[0] for number in range(10)] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert place(3, 10, 5) == (1, 0.5)


def test_a_film_is_numbered_frames_of_one_size(tmp_path):
    pictures = [np.full((50, 60, 3), grey, np.uint8) for grey in (50, 200)]
    assert [int(frame[0, 0, 0]) for frame in film(pictures, 4)] == [50, 50, 200, 200]
    write_film(tmp_path, pictures, 4)
    written = sorted(tmp_path.iterdir())
    assert [path.name for path in written] == ["00000.jpg", "00001.jpg", "00002.jpg", "00003.jpg"]
    assert cv2.imread(str(written[-1])).shape == (480, 640, 3)


def test_the_schedule_goes_from_the_best_to_the_smallest_and_compares_with_pictures(tiny_bundle):
    points = [str(point) for point in operating_points(load_manifest(tiny_bundle))]
    assert points == ["w4 q2", "w4 q1", "w2 q1", "w1 q0", "jpeg 50", "jpeg 10"]


def test_a_bundle_without_a_detector_is_shown_without_pictures(tiny_bundle):
    manifest = load_manifest(tiny_bundle)
    without = replace(manifest, files={}, qualities=1, encoder=replace(manifest.encoder, members=1))
    assert operating_points(without) == [OperatingPoint(Codec.RANS, 1, 0)]


def test_a_run_goes_five_times_through_all_points():
    assert frames_each(150, 6) == 5
    assert frames_each(377, 6) == 12
    assert frames_each(7, 6) == 1
    assert frames_each(0, 6) == 5


# The client's command and files.


def test_the_client_is_told_what_a_user_would_type(tmp_path):
    files = ClientFiles.inside(tmp_path)
    points = [OperatingPoint(Codec.RANS, 4, 2), OperatingPoint(Codec.JPEG, 0, 50)]
    command = client_command("127.0.0.1:1", "0", tmp_path, points, 100, files)
    assert command[:6] == ["edge_client", "run", "--server", "127.0.0.1:1", "--source", "0"]
    assert command[command.index("--schedule") + 1] == "w4 q2, jpeg 50"
    assert command[command.index("--schedule-frames") + 1] == "10"
    assert command[command.index("--max-frames") + 1] == "100"


def test_the_files_of_the_last_run_do_not_count(tmp_path):
    (tmp_path / "detections.jsonl").write_text("old\n")
    files = ClientFiles.inside(tmp_path)
    assert read_answers(files.detections) == []
    assert files.counts() == {}


def test_sources_are_paths_cameras_and_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "video.mp4").touch()
    assert source_address("video.mp4") == str(tmp_path / "video.mp4")
    assert source_address("0") == "0"
    assert source_address("rtsp://camera/1") == "rtsp://camera/1"
    with pytest.raises(SourceError, match="no such file"):
        source_address("vido.mp4")


# The answers and their table.


def test_an_answer_is_read_from_a_line_of_detections(tmp_path):
    path = tmp_path / "detections.jsonl"
    path.write_text(json.dumps(RECORD) + "\n" + json.dumps(RECORD)[:20])  # the second was cut short by a kill
    (answer,) = read_answers(path)
    assert answer == Answer(1.5, "w4 q2", 2000, 20.0, 75.0, 70.5, ("cup",))
    assert answer.overhead_ms == 4.5


def test_pictures_are_named_by_codec_and_quality():
    record = {**RECORD, "mode": "image", "codec": "jpeg", "width": 0, "quality": 50}
    assert answer_from_record(record).point == "jpeg 50"


def test_objects_are_counted_once_a_frame():
    assert frames_with([ANSWER, replace(ANSWER, names=("cup",))]) == {"cup": 2, "table": 1}


def test_rows_hold_medians_in_the_order_of_the_points():
    slow = replace(ANSWER, payload_bytes=4000, encode_ms=40.0, end_to_end_ms=97.0, compute_ms=90.0, names=())
    rows = point_rows([replace(ANSWER, point="w1 q0"), ANSWER, slow], ["w4 q2", "w2 q1", "w1 q0"])
    assert [row["point"] for row in rows] == ["w4 q2", "w1 q0"]
    assert rows[0] == {
        "point": "w4 q2",
        "frames": 2,
        "kilobytes_p50": 3.0,
        "encode_ms_p50": 30.0,
        "end_to_end_ms_p50": 86.0,
        "overhead_ms_p50": 6.0,
        "found": {"cup": 1, "table": 1},
    }


def test_the_table_is_for_people():
    rows = point_rows([ANSWER], ["w4 q2"])
    assert point_table(rows) == (
        "point  frames  KB  encode ms  end-to-end ms  overhead ms  found in frames\n"
        "w4 q2       1   2         20             75            5  cup 1, table 1"
    )


def test_only_the_most_frequent_objects_are_shown():
    assert counted(dict.fromkeys("abcdefg", 1)) == "a 1, b 1, c 1, d 1, e 1"
    assert counted({}) == "nothing"


def test_the_text_says_what_became_of_the_frames_and_where_the_results_are(tmp_path):
    (tmp_path / "clip.mp4").touch()
    frames = {"captured": 9, "answered": 6, "overtaken": 0, "lost": 1, "refused": {"invalid_argument": 2}}
    text = as_text({"frames": frames, "found": {"cup": 6}, "points": point_rows([ANSWER], ["w4 q2"])}, tmp_path)
    assert "9 captured, 6 answered, 1 lost, 2 refused" in text
    assert f"annotated clip   {tmp_path / 'clip.mp4'}" in text
    assert "chart.png" not in text


# The pictures.


def test_the_overview_shows_the_middle_frame_of_every_part_and_point():
    answers = [replace(ANSWER, position_s=float(i), point=point) for i, point in enumerate("aaabbbaaab")]
    assert choose(answers, "ab", 2) == [[1, 4], [7, 9]]
    assert choose(answers[:2], "ab", 2) == [[0, None], [1, None]]
    assert choose(answers[:1], "ab", 2) == [[0, None], [None, None]]


def test_the_clip_shows_an_answer_at_its_time_but_never_two_in_one_frame():
    assert clip_indexes([0.0, 0.1, 0.4, 0.41, 0.42], 10.0) == [0, 1, 4, 5, 6]


def test_the_overview_keeps_the_aspect_ratio_and_leaves_missing_frames_white():
    picture = np.zeros((450, 800, 3), np.uint8)
    whole = tiled([[picture, None]], ["w4 q2", "w1 q0"])
    assert whole.shape == (HEADING_HEIGHT + 225 + GAP, 2 * (400 + GAP), 3)
    assert not whole[HEADING_HEIGHT : HEADING_HEIGHT + 225, :400].any()
    assert (whole[HEADING_HEIGHT:, 406:] == 255).all()


def test_the_chart_is_a_picture(tmp_path):
    draw_chart(tmp_path / "chart.png", [ANSWER, replace(ANSWER, point="jpeg 50")], ["w4 q2", "jpeg 50"])
    assert cv2.imread(str(tmp_path / "chart.png")).shape[2] == 3


# The whole.


def test_a_short_run_with_two_processes_leaves_its_results(tmp_path, tiny_bundle, capsys):
    code = main(["--bundle", str(tiny_bundle), "--frames", "12", "--out", str(tmp_path / "out"), "--json"])
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert code == (0 if summary["found"] else 1)
    assert summary["frames"]["captured"] == 12
    assert summary["frames"]["answered"] >= 1
    assert sum(row["frames"] for row in summary["points"]) == summary["frames"]["answered"]
    assert "server ready on 127.0.0.1:" in captured.err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"detections.jsonl", "clip.mp4", "overview.jpg", "chart.png", "summary.json", "server.log"}
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary


def test_ctrl_c_ends_the_run_but_keeps_what_was_found(tmp_path, tiny_bundle, photo, monkeypatch, capsys):
    for number in range(60):
        cv2.imwrite(str(tmp_path / f"{number:02d}.jpg"), photo)
    detections = tmp_path / "out" / "detections.jsonl"

    def alive(server: ServerProcess) -> bool:
        if detections.exists() and detections.stat().st_size:
            raise KeyboardInterrupt
        return server.process.poll() is None

    monkeypatch.setattr(ServerProcess, "alive", property(alive))
    arguments = ["--source", str(tmp_path), "--bundle", str(tiny_bundle), "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments) == INTERRUPTED
    answered = json.loads(capsys.readouterr().out)["frames"]["answered"]
    assert 1 <= answered < 60
    assert len(read_answers(detections)) == answered


def _names(process: psutil.Process, folder: Path) -> bool:
    return any(str(folder) in word for word in process.info["cmdline"] or [])


def test_a_killed_demo_leaves_no_process_behind(tmp_path, tiny_bundle):
    command = [sys.executable, "-m", "demo", "--bundle", str(tiny_bundle), "--out", str(tmp_path), "--frames", "5"]
    demo = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, text=True)
    try:
        assert any("server ready" in line for line in demo.stderr)
        children = psutil.Process(demo.pid).children(recursive=True)
        demo.terminate()
        assert demo.wait(timeout=60) == INTERRUPTED
        named = [child for child in psutil.process_iter(["cmdline"]) if _names(child, tmp_path)]
    finally:
        demo.kill()
        demo.wait()
        demo.stderr.close()
    assert children
    assert not any(child.is_running() for child in [*children, *named])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bundle", "/nothing"), "is not a bundle"),
        (("--source", "/nothing.mp4"), "no such file"),
        (("--out", "/dev/null/out"), "choose another --out"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, tiny_bundle, capsys, words, said):
    arguments = ["--bundle", str(tiny_bundle), "--out", str(tmp_path / "out"), *words]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("demo: ") and said in line


def test_a_source_that_the_client_cannot_read_fails_the_demo(tmp_path, tiny_bundle, capfd):
    (tmp_path / "empty").mkdir()
    arguments = ["--source", str(tmp_path / "empty"), "--bundle", str(tiny_bundle), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    said = capfd.readouterr().err
    assert "edge-client: " in said and "no pictures in this folder" in said
    assert "demo: the client failed (exit code 1)" in said
