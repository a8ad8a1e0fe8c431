"""The animated picture of a failover: what its frames say, and that it is one."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.drawing import LIGHT
from demo import clip
from demo.clip import ALONE_S, BADGE_WIDTH, BAR_HEIGHT, animated, captioned, shown
from demo.failover import FRAME_SIZE, Moment, Recording, client_command, moments, panned
from splitnet.errors import ConfigError

NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)
GREY = np.full((360, 480, 3), 200, np.uint8)
SPLIT = Moment(GREY, "split", "w2 q3", 1.5, 80.0, None)
LOCAL = Moment(GREY, "local", "local", 0.0, 150.0, 0.5)


def line(frame_id: int, file: str, seconds: float, mode: str = "split") -> str:
    """Return a line of detections of a frame that was captured so many seconds after noon."""
    time = (NOON + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    cost = {"bytes": 1500, "end_to_end_ms": 80.0, "time_utc": time}
    point = {
        "mode": mode,
        "codec": "rans" if mode == "split" else "local",
        "width": 2 * (mode == "split"),
        "quality": 0,
    }
    return json.dumps({"frame_id": frame_id, "file": file, **cost, **point}) + "\n"


def test_the_camera_turns_over_each_photograph_from_left_to_right():
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (150, 1, 3))
    frames = list(panned({"ramp": ramp, "black": np.zeros_like(ramp)}, 8))
    assert {frame.shape for frame in frames} == {(FRAME_SIZE[1], FRAME_SIZE[0], 3)}
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 10, 20, 30, 0, 0, 0, 0]


def test_the_client_is_told_what_a_user_would_type(tmp_path):
    command = client_command("h:1", tmp_path, tmp_path / "source", tmp_path / "out.jsonl", tmp_path / "images")
    assert command[:4] == ["edge_client", "run", "--server", "h:1"]
    assert command[command.index("--annotate") + 1] == str(tmp_path / "images")
    assert "--loop" in command


def test_each_answer_is_shown_by_its_own_image_with_and_without_a_server(tmp_path):
    for name, shade in (("0000", 10), ("0001", 20), ("0000-000003", 30), ("0001-000004", 40)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((4, 4, 3), shade, np.uint8))
    lines = [line(1, "0000.png", 0.0), line(2, "0001.png", 1.0, "local"), line(3, "0000.png", 2.5, "local")]
    lines += [line(4, "0001.png", 3.0), line(5, "0002.png", 4.0)]  # the last one was not drawn any more
    (tmp_path / "out.jsonl").write_text("".join(lines))
    back = NOON + timedelta(seconds=3)
    found = list(moments(Recording(tmp_path / "out.jsonl", tmp_path, NOON + timedelta(seconds=1), back)))
    assert [int(moment.image[0, 0, 0]) for moment in found] == [10, 20, 30, 40]
    assert [(moment.mode, moment.alone_s) for moment in found] == [
        *(("split", None), ("local", 0.0), ("local", 1.5), ("split", None)),
    ]
    assert (found[0].point, found[1].point, found[0].kilobytes) == ("w2 q0", "local", 1.5)


def test_of_a_long_outage_the_beginning_is_shown():
    late = replace(LOCAL, alone_s=ALONE_S)
    assert shown([SPLIT, LOCAL, late, SPLIT]) == [SPLIT, LOCAL, SPLIT]


@pytest.mark.parametrize("found", [[SPLIT, SPLIT], [replace(LOCAL, alone_s=None), LOCAL]])
def test_without_a_failover_there_is_nothing_to_show(found):
    with pytest.raises(ConfigError, match="no failover"):
        shown(found)


def test_the_bar_has_the_colour_of_the_mode_and_its_badge_that_of_the_server():
    for moment, colour, badge in ((SPLIT, LIGHT.split, LIGHT.split), (LOCAL, LIGHT.local, LIGHT.bad)):
        whole = captioned(moment)
        assert (whole[:360] == 200).all() and whole.shape == (360 + BAR_HEIGHT, 480, 3)
        assert [hex_of(whole[-1, 0]), hex_of(whole[-1, -1])] == [colour, badge]
        assert (whole[360:, -BADGE_WIDTH:] == 255).any()  # words


def hex_of(pixel: np.ndarray) -> str:
    return "#" + bytes(pixel[::-1].tolist()).hex()


def test_the_picture_moves_and_keeps_to_its_size(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (4, 90, 120, 3), dtype=np.uint8)
    best = animated(list(noise))
    with Image.open(io.BytesIO(best)) as found:
        assert (found.format, found.n_frames, found.size) == ("WEBP", 4, (120, 90))
    monkeypatch.setattr(clip, "MAX_FILE_BYTES", len(best) - 1)
    assert len(animated(list(noise))) < len(best)
    with pytest.raises(ConfigError, match="annotated no frame"):
        animated([])


def test_a_recording_becomes_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(clip, "recorded", lambda bundle, folder: None)
    monkeypatch.setattr(clip, "moments", lambda recording: [SPLIT, SPLIT, LOCAL, LOCAL])
    assert clip.main(["--out", str(tmp_path / "new" / "clip.webp")]) == 0
    assert capsys.readouterr().out.startswith("2 frames, ")
    monkeypatch.setattr(clip, "moments", lambda recording: [SPLIT])
    assert clip.main(["--out", str(tmp_path / "clip.webp")]) == 1
    assert not Path(tmp_path / "clip.webp").exists()
