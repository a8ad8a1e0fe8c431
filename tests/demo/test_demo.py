"""The demo: its stills, its schedule and tables, its folder of results, and a short run with real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest

from benchmarks.harness.processes import ServerProcess, server_process
from demo import run
from demo.__main__ import INTERRUPTED, main
from demo.answers import Answer, answer_from_record, frames_with, point_rows, read_answers
from demo.chart import draw_chart
from demo.client import ClientFiles, client_command, run_client, source_address
from demo.overview import CAPTION_HEIGHT, GAP, HEADING_HEIGHT, caption, choose, clip_indexes, tiled
from demo.results import replacing
from demo.schedule import frames_each, operating_points
from demo.stills import write_stills
from demo.summary import as_text, counted, point_table
from splitnet.errors import LinkError, SourceError, SplitError
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


# The stills and the schedule.


def test_every_photograph_is_shown_for_its_share_of_the_frames(tmp_path):
    photographs = {name: np.full((50, 60, 3), grey, np.uint8) for name, grey in (("dark", 50), ("bright", 200))}
    write_stills(tmp_path, photographs, 5)
    written = sorted(tmp_path.iterdir())
    assert [path.name for path in written] == [
        *("00000-dark.jpg", "00001-dark.jpg", "00002-dark.jpg"),
        *("00003-bright.jpg", "00004-bright.jpg"),
    ]
    assert written[0].read_bytes() == written[2].read_bytes()  # the same frame at every point
    assert cv2.imread(str(written[-1])).shape == (480, 640, 3)
    assert cv2.imread(str(written[-1]))[0, 0].tolist() == [200, 200, 200]


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


def test_a_client_that_came_to_nothing_has_no_answers_and_no_counts(tmp_path):
    files = ClientFiles.inside(tmp_path)
    assert read_answers(files.detections) == []
    assert files.counts() == {}


# The folder of results.


def test_new_results_replace_the_last_ones_and_nothing_else(tmp_path):
    for name in ("summary.json", "adapting.png", "mine.txt"):
        (tmp_path / name).write_text("old")
    with replacing(tmp_path) as folder:
        (folder / "summary.json").write_text("new")
        assert (tmp_path / "summary.json").read_text() == "old"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"summary.json": "new", "mine.txt": "old"}


def test_a_run_that_fails_keeps_the_last_results_and_its_own_log(tmp_path):
    (tmp_path / "summary.json").write_text("old")
    for reason in ("first", "second"):
        with pytest.raises(SourceError), replacing(tmp_path) as folder:
            (folder / "server.log").write_text(reason)
            raise SourceError(reason)
    assert (tmp_path / "summary.json").read_text() == "old"
    assert (tmp_path / "unfinished" / "server.log").read_text() == "second"


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
    assert choose(answers[:4], "ab", 2, shown_s=10.0) == [[1, 3], [None, None]]  # the rest was not answered


def test_the_clip_shows_an_answer_at_its_time_but_never_two_in_one_frame():
    assert clip_indexes([0.0, 0.1, 0.4, 0.41, 0.42], 10.0) == [0, 1, 4, 5, 6]


def test_the_overview_keeps_the_aspect_ratio_and_leaves_missing_frames_white():
    cell = np.zeros((450, 800, 3), np.uint8), ("2.0 KB, 75 ms", "cup")
    whole = tiled([[cell, None]], ["w4 q2", "w1 q0"])
    below = HEADING_HEIGHT + 180
    assert whole.shape == (below + CAPTION_HEIGHT + GAP, 2 * (320 + GAP), 3)
    assert not whole[HEADING_HEIGHT:below, :320].any()
    assert (whole[below : below + CAPTION_HEIGHT, :320] < 100).any()  # its caption
    assert (whole[HEADING_HEIGHT:, 330:] == 255).all()


def test_a_frame_is_captioned_by_what_it_cost_and_what_was_found():
    assert caption(ANSWER) == ("2.0 KB, 75 ms", "cup, table")
    assert caption(replace(ANSWER, names=())) == ("2.0 KB, 75 ms", "nothing")


def test_a_caption_ends_where_the_next_column_begins():
    cell = np.zeros((32, 32, 3), np.uint8), ("", "dining table, " * 9)
    whole = tiled([[cell, None]], ["w4 q2", "w1 q0"])
    assert (whole[HEADING_HEIGHT:, 320:] == 255).all()


def test_the_chart_is_a_picture(tmp_path):
    draw_chart(tmp_path / "chart.png", [ANSWER, replace(ANSWER, point="jpeg 50")], ["w4 q2", "jpeg 50"])
    assert cv2.imread(str(tmp_path / "chart.png")).shape[2] == 3


# The whole.


@pytest.fixture(scope="module")
def running(tiny_bundle, tmp_path_factory):
    with server_process(tiny_bundle, tmp_path_factory.mktemp("server") / "log", "--threads", "1") as server:
        yield server


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


def test_ctrl_c_ends_the_run_but_keeps_what_was_found(tmp_path, tiny_bundle, photo, running, monkeypatch, capsys):
    monkeypatch.setattr(run, "server_process", lambda *_: nullcontext(running))
    for number in range(60):
        cv2.imwrite(str(tmp_path / f"{number:02d}.jpg"), photo)
    detections = tmp_path / "out" / "unfinished" / "detections.jsonl"

    def alive(server: ServerProcess) -> bool:
        if detections.exists() and detections.stat().st_size:
            raise KeyboardInterrupt
        return server.process.poll() is None

    monkeypatch.setattr(ServerProcess, "alive", property(alive))
    arguments = ["--source", str(tmp_path), "--bundle", str(tiny_bundle), "--out", str(tmp_path / "out"), "--json"]
    assert main(arguments) == INTERRUPTED
    answered = json.loads(capsys.readouterr().out)["frames"]["answered"]
    assert 1 <= answered < 60
    assert len(read_answers(tmp_path / "out" / "detections.jsonl")) == answered


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


def test_a_client_that_fails_is_said_beside_what_it_said_itself(tmp_path, tiny_bundle, capfd):
    (tmp_path / "empty").mkdir()
    points = [OperatingPoint(Codec.RANS, 1, 0)]
    files = ClientFiles.inside(tmp_path)
    command = client_command("127.0.0.1:1", str(tmp_path / "empty"), tiny_bundle, points, 0, files)
    with pytest.raises(SplitError, match=r"the client failed \(exit code 1\)"):
        run_client(command, SimpleNamespace(alive=True))
    said = capfd.readouterr().err
    assert "edge-client: " in said and "no images in this folder" in said


def test_a_server_that_dies_ends_the_run(tmp_path):
    dead = SimpleNamespace(alive=False, process=SimpleNamespace(returncode=-9))
    with pytest.raises(LinkError, match=r"the server died \(exit code -9\)"):
        run_client(["timeit", "-n1", "-r1", "import time; time.sleep(600)"], dead)
