"""The serve benchmark as a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks.serve_plot import draw_serve, lines

pytest.importorskip("matplotlib")


def row(server: str, sent: float, p99: float | None = 100.0) -> dict[str, object]:
    return {"server": server, "sent_per_s": sent, "goodput_per_s": 0.9 * sent, "latency_ms_p99": p99}


ROWS = [row("batching", 40), row("batching", 20), row("batching off", 20), row("batching off", 40, None)]
RESULT = {"loads": ROWS, "bare_frames_per_s": 30.0, "deadline_ms": 500, "devices": 50}


def test_a_line_goes_by_the_load():
    assert [one["sent_per_s"] for one in lines(ROWS, "batching")] == [20, 40]
    assert [one["server"] for one in lines(ROWS, "batching off")] == ["batching off"] * 2


def test_it_is_drawn_for_light_and_dark_pages(tmp_path: Path):
    draw_serve(tmp_path / "serve.json", RESULT)
    light, dark = (cv2.imread(str(tmp_path / f"serve-{name}.png")) for name in ("light", "dark"))
    assert light.shape == dark.shape and light.shape[1] == 1200
    assert light[0, 0].min() == 255 and dark[0, 0].max() < 32
