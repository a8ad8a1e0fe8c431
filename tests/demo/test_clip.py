"""The animated picture of a failover: what its frames say, and that it is one."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.drawing import LIGHT
from benchmarks.harness.run_trace import FrameRecord
from demo import clip
from demo.clip import BADGE_WIDTH, BAR_HEIGHT, animated, captioned, shown_frames
from demo.failover import FPS, FRAME_SIZE, Recording, panned
from splitnet.errors import ConfigError

SPLIT = FrameRecord(0.0, 0, "answered", 250.0, 1500, total_ms=80.0, point="w2 q3", mode="split")
LOCAL = FrameRecord(0.5, 4, "local", 250.0, 0, total_ms=150.0, point="local", mode="local")


def recording(folder, killed_s: float, back_s: float, lines: list[dict]) -> Recording:
    """Return what a client would leave of frames whose shade is ten times their number."""
    found = Recording(folder / "clip.avi", folder / "run.jsonl", killed_s, back_s)
    writer = cv2.VideoWriter(str(found.clip), cv2.VideoWriter.fourcc(*"MJPG"), FPS, FRAME_SIZE)
    for number in range(12):
        writer.write(np.full((FRAME_SIZE[1], FRAME_SIZE[0], 3), 10 * number, np.uint8))
    writer.release()
    found.trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return found


def line(position: int, time_s: float, outcome: str, mode: str) -> dict:
    return {"time_s": time_s, "position": position, "outcome": outcome, "deadline_ms": 250, "mode": mode, "total_ms": 0}


def test_the_camera_turns_over_each_photograph_from_left_to_right():
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (150, 1, 3))
    frames = list(panned({"ramp": ramp, "black": np.zeros_like(ramp)}, 8))
    assert {frame.shape for frame in frames} == {(FRAME_SIZE[1], FRAME_SIZE[0], 3)}
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 10, 20, 30, 0, 0, 0, 0]


def test_frames_are_shown_with_and_without_a_server_and_a_long_outage_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(clip, "ALONE_S", 2.0)
    lines = [
        *(line(0, 0.0, "answered", "split"), line(1, 1.0, "overtaken", "split"), line(2, 1.5, "late", "image")),
        *(line(3, 2.0, "local", "local"), line(4, 3.9, "local", "local"), line(5, 4.0, "local", "local")),
        *(line(6, 9.0, "answered", "split"), line(99, 9.5, "answered", "split")),  # the clip ended before the last one
    ]
    shown = list(shown_frames(recording(tmp_path, 2.0, 9.0, lines)))
    assert [(record.position, has_server) for _, record, has_server in shown] == [
        *((0, True), (2, True), (3, False), (4, False), (6, True)),
    ]
    assert [round(float(frame.mean()) / 10) for frame, _, _ in shown] == [0, 2, 3, 4, 6]


@pytest.mark.parametrize("modes", [("local", "local"), ("split", "split")])
def test_without_a_failover_there_is_nothing_to_show(tmp_path, modes):
    lines = [line(0, 0.0, "answered", modes[0]), line(1, 1.0, "local", modes[1])]
    with pytest.raises(ConfigError, match="no failover"):
        list(shown_frames(recording(tmp_path, 0.5, 9.0, lines)))


def test_the_bar_has_the_colour_of_the_mode_and_its_badge_that_of_the_server():
    frame = np.full((360, 480, 3), 200, np.uint8)
    for record, has_server, colour in ((SPLIT, True, LIGHT.split), (LOCAL, False, LIGHT.local)):
        whole = captioned(frame, record, has_server)
        assert (whole[:360] == 200).all() and whole.shape == (360 + BAR_HEIGHT, 480, 3)
        assert "#" + bytes(whole[-1, 0, ::-1].tolist()).hex() == colour
        badge = "#" + bytes(whole[-1, -1, ::-1].tolist()).hex()
        assert badge == (colour if has_server else LIGHT.bad)
        assert (whole[360:, -BADGE_WIDTH:] == 255).any()  # words


def test_the_picture_moves_and_keeps_to_its_size(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 3), dtype=np.uint8)
    best = animated(list(noise))
    with Image.open(io.BytesIO(best)) as found:
        assert (found.format, found.n_frames, found.size) == ("WEBP", 4, (120, 90))
    monkeypatch.setattr(clip, "MAX_FILE_BYTES", len(best) - 1)
    assert len(animated(list(noise))) < len(best)
    with pytest.raises(ConfigError, match="annotated no frame"):
        animated([])
