"""The serve benchmark as a figure."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from benchmarks.serving.serve_plot import draw_serve, lines

pytest.importorskip("matplotlib")


def row(server: str, load: float, p99: float | None = 100.0) -> dict[str, object]:
    return {"server": server, "load": load, "share_of_bare": 0.9 * load, "latency_ms_p99": p99}


ROWS = [row("batching", 1.0), row("batching", 0.5), row("batching off", 0.5), row("batching off", 1.0, None)]
RESULT = {"loads": ROWS, "deadline_ms": 500, "devices": 50}


def test_a_line_goes_by_the_load():
    assert [one["load"] for one in lines(ROWS, "batching")] == [0.5, 1.0]
    assert [one["server"] for one in lines(ROWS, "batching off")] == ["batching off"] * 2


def test_it_is_drawn_for_light_and_dark_pages(tmp_path: Path):
    draw_serve(tmp_path / "serve.json", RESULT)
    light, dark = (cv2.imread(str(tmp_path / f"serve-{name}.png")) for name in ("light", "dark"))
    assert light.shape == dark.shape and light.shape[1] == 1200
    assert light[0, 0].min() == 255 and dark[0, 0].max() < 32
