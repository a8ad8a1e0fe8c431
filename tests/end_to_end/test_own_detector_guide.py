"""The guide docs/own-detector.md in small: from labelled images to detections of one's own classes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from splitnet.bundle import load_device, load_server
from splitnet.letterbox import Letterbox
from splitnet.nn.yolox.boxes import detections_from_raw
from tests.conftest import PROJECT
from tests.support.tiny_student import random_images
from training.__main__ import _parser, main

pytestmark = pytest.mark.usefixtures("keep_threads")

GUIDE = (PROJECT / "docs" / "own-detector.md").read_text()
SIDE = 64  # of the images, and of the detector's square


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of eight labelled images of two classes, where the guide's commands are run."""
    for name in ("pictures", "labels"):
        (tmp_path / name).mkdir()
    for i, image in enumerate(random_images(8, SIDE, SIDE)):
        image[10:50, 12:52] = (0, 0, 255) if i % 2 else (255, 0, 0)
        assert cv2.imwrite(str(tmp_path / "pictures" / f"frame_{i}.png"), image)
        (tmp_path / "labels" / f"frame_{i}.txt").write_text(f"{i % 2} 0.5 0.47 0.625 0.625\n")
    (tmp_path / "classes.txt").write_text("blue\nred\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(name: str, **changes: object) -> list[str]:
    """Return the first command of the guide by this name, some options replaced."""
    text = GUIDE[GUIDE.index(f"python -m training {name}") :]
    lines = []
    for line in text.splitlines():
        lines.append(line.partition("  #")[0].rstrip().removesuffix("\\"))
        if not line.rstrip().endswith("\\"):
            break
    words = " ".join(lines).split()[3:]
    for option, value in changes.items():
        flag = f"--{option.replace('_', '-')}"
        if flag in words:
            place = words.index(flag)
            words[place : place + 2] = [] if value is None else [flag, str(value)]
        elif value is not None:
            words += [flag, str(value)]
    return words


def test_the_guide_in_small(folder, capsys):
    small = {"threads": 1, "steps": 2, "batch_size": 2}
    assert main(command("convert", valid_share=0.25)) == 0
    start = {"init": None, "evaluate_every": 1}
    afresh = {"start_from": None, "start_progress": None}  # it began with random weights, not with the bundle
    assert main(command("detector", square=SIDE, **start, **small)) == 0
    assert main(command("distill", square=32, table_images=1, **afresh, **small)) == 0
    assert main(command("evaluate", widths=1)) == 0
    assert "w1 q5" in capsys.readouterr().out
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["images"] == 2
    device, server = load_device(folder / "bundles" / "mine"), load_server(folder / "bundles" / "mine")
    assert device.manifest.class_names == ("blue", "red")
    assert device.manifest.points
    assert "trained from random weights by `python -m training detector` on 6 images" in device.manifest.origin
    box = Letterbox.fit(SIDE, SIDE, SIDE)
    symbols = device.encoder.encode(box.apply(random_images(1, SIDE, SIDE)[0]), 1, 0)
    payload = device.codec.compress(symbols, 1, 0)
    raw = server.half(server.half.dequantise(server.codec.decompress(payload)[1], 1, 0)[None])
    (found,) = detections_from_raw(raw, SIDE, score_threshold=0.0)
    assert set(found.labels.tolist()) <= {0, 1}
    assert np.isfinite(found.boxes).all()


def test_the_guide_from_python_in_small(folder, capsys):
    start = GUIDE.index("```python\n") + len("```python\n")
    example = GUIDE[start : GUIDE.index("```\n", start)]
    few = "threads=1, batch_size=2"
    changes = {  # as small as can be, and from random weights
        "init=start,": "plain_share=0.0,",
        "steps=300,": f"steps=1, {few},",
        "square=320,": f"square={SIDE},",
        "start_from=start,": "",
        "start_progress=0.5,": "table_images=1,",
        "square=256,": "square=32,",
        "steps=1200,": f"steps=1, {few},",
        "write_manifest=True": "limit=1, no_images=True, widths=(2,)",
        "score_threshold=0.3": "score_threshold=0.0",
    }
    for usual, small in changes.items():
        assert example.count(usual) == 1, usual
        example = example.replace(usual, small)
    exec(compile(example, "docs/own-detector.md", "exec"), {})
    said = capsys.readouterr().out
    assert "step 1: AP" in said
    assert "w2 q3" in said
    assert any(line.startswith(("blue ", "red ")) and " from " in line for line in said.splitlines())


@pytest.mark.parametrize("name", ["convert", "detector", "distill", "evaluate"])
def test_every_command_of_the_guide_is_understood(name):
    """Parse every command line of the guide: an option that was renamed must not live on there."""
    text = GUIDE.replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith(f"python -m training {name} ")]
    assert lines
    for line in lines:
        words = shlex.split(line.partition("  #")[0])
        assert _parser().parse_args(words[3:]).command is not None
