"""A still scene over a real session: frames become changes, and whole again where nothing can be built on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from tests.end_to_end.test_end_to_end import run, serve, start  # noqa: F401

FRAMES = 12


@pytest.fixture(scope="module")
def scene(tmp_path_factory, photo) -> Path:
    """Return a folder of frames in which one corner changes, and the size in the middle."""
    folder = tmp_path_factory.mktemp("scene")
    for index in range(FRAMES):
        frame = cv2.resize(photo, (320, 240) if index < FRAMES // 2 else (240, 320))
        frame[:20, :20] = 20 * index
        cv2.imwrite(str(folder / f"{index:03}.png"), frame)
    return folder


def traced(start, address: str, bundle: Path, scene: Path, trace: Path, *options: object) -> Sequence[dict]:  # noqa: F811
    kept = ["--as-fast-as-possible", "--width", 4, "--quality", 2, "--trace-out", trace]
    client = run(start, address, bundle, scene, *kept, *options)
    assert client.wait(60) == 0, client.communicate()
    return [json.loads(line) for line in trace.read_text().splitlines()]


def test_frames_build_on_answered_ones_of_their_size(start, tiny_bundle, scene, tmp_path):  # noqa: F811
    _, address = serve(start, tiny_bundle)
    lines = traced(start, address, tiny_bundle, scene, tmp_path / "changes.jsonl")
    assert [line["outcome"] for line in lines] == ["answered"] * FRAMES
    by_frame = {line["frame_id"]: line for line in lines}
    builds = {number: line["builds_on"] for number, line in by_frame.items() if line["builds_on"] is not None}
    assert builds, "no frame was coded as changes"
    assert all(on < number for number, on in builds.items())
    half = FRAMES // 2
    assert all((on <= half) == (number <= half) for number, on in builds.items())  # never across a change of size
    whole = [line["bytes"] for number, line in by_frame.items() if number not in builds]
    assert max(by_frame[number]["bytes"] for number in builds) < min(whole)


def test_whole_frames_are_sent_where_the_user_wants_them(start, tiny_bundle, scene, tmp_path):  # noqa: F811
    _, address = serve(start, tiny_bundle)
    lines = traced(start, address, tiny_bundle, scene, tmp_path / "whole.jsonl", "--whole-frames")
    assert [line["builds_on"] for line in lines] == [None] * FRAMES


def test_h264_is_a_stream_that_begins_anew_when_the_size_changes(start, tiny_bundle, scene, tmp_path):  # noqa: F811
    _, address = serve(start, tiny_bundle)
    kept = ("--as-fast-as-possible", "--mode", "image", "--codec", "h264", "--quality", 30)
    client = run(start, address, tiny_bundle, scene, *kept, "--trace-out", tmp_path / "h264.jsonl")
    assert client.wait(60) == 0, client.communicate()
    lines = [json.loads(line) for line in (tmp_path / "h264.jsonl").read_text().splitlines()]
    assert [line["outcome"] for line in lines] == ["answered"] * FRAMES
    sizes = [line["bytes"] for line in sorted(lines, key=lambda line: line["frame_id"])]
    half = FRAMES // 2
    assert max(sizes[1:half]) < sizes[0] / 3 and max(sizes[half + 1 :]) < sizes[half] / 3


def test_a_scene_in_which_nothing_changes_is_sent_once_and_its_answer_repeated(start, tiny_bundle, photo, tmp_path):  # noqa: F811
    folder = tmp_path / "still"
    folder.mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"{index:03}.png"), cv2.resize(photo, (320, 240)))
    _, address = serve(start, tiny_bundle)
    kept = ("--as-fast-as-possible", "--width", 4, "--quality", 2, "--repeat-s", 60)
    client = run(start, address, tiny_bundle, folder, *kept, "--out", tmp_path / "found.jsonl")
    assert client.wait(60) == 0, client.communicate()
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert len(lines) == FRAMES
    repeated = [line for line in lines if line["repeated"]]
    assert len(repeated) >= FRAMES - 4  # the first, and those that were on their way until it was answered
    assert {line["bytes"] for line in repeated} == {0}
    assert all(line["detections"] == lines[0]["detections"] for line in repeated)
