"""The figure of a run: what it is made of, exactly, and that it can be drawn of whatever a run may be."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from benchmarks.__main__ import main
from benchmarks.harness.drawing import DARK, LIGHT, colours, stacked_panels, title
from benchmarks.harness.plot import GAP_S, draw_run, series, true_capacity
from benchmarks.harness.run_trace import FrameRecord
from benchmarks.harness.traces import steps
from tests.benchmarks.harness.test_run_trace import LINE, OVERTAKEN


def records(count: int, **fields: object) -> list[FrameRecord]:
    known = {"outcome": "answered", "deadline_ms": 200.0, "total_ms": 90.0, "point": "w4 q2", "mode": "split", **fields}
    return [FrameRecord(time_s=n / 10, position=n, payload_bytes=2000, **known) for n in range(count)]


def figure(path) -> np.ndarray:
    return cv2.imread(str(path))


def test_a_series_has_the_frames_that_know_and_breaks_where_none_did():
    frames = [FrameRecord(second, 0, "answered", 200.0) for second in (0.0, 0.1, 0.2, 0.2 + 2 * GAP_S)]
    seconds, values = series(frames, [1.0, None, 3.0, 4.0])
    assert seconds.tolist() == pytest.approx([0.0, 0.2, 0.2 + GAP_S, 0.2 + 2 * GAP_S])
    assert values[[0, 1, 3]].tolist() == [1.0, 3.0, 4.0]
    assert np.isnan(values[2])
    assert [len(part) for part in series(frames, [None] * 4)] == [0, 0]


def test_the_true_capacity_is_that_of_the_run_s_seconds():
    edges, mbps = true_capacity(steps([2.0, 1.0, 4.0], 1.0), 0.5, 1.6, link_start_s=1.0)
    assert edges.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert mbps.tolist() == pytest.approx([1.0, 4.0, 4.0])


def test_every_mode_has_a_colour_of_its_own_on_both_pages():
    for theme in (LIGHT, DARK):
        assert len({theme.of_mode(mode) for mode in ("split", "image", "local", "skip", None)}) == 4
    assert LIGHT.of_mode("skip") == LIGHT.of_mode(None) == LIGHT.skip


def test_points_have_colours_of_their_own():
    assert len(set(colours(["w4 q2", "w1 q0", "jpeg 50", "webp 10"]).values())) == 4


def test_a_legend_stands_in_its_order_right_to_left_from_the_edge():
    figure, (axes,) = stacked_panels([1.0], LIGHT)
    title(axes, LIGHT, "Uplink", [("one", LIGHT.split), ("two", LIGHT.bad)])
    assert [text.get_text() for text in axes.texts] == ["two", "one"]
    figure.draw_without_rendering()
    two, one = (text.get_window_extent() for text in axes.texts)
    assert one.x1 < two.x0


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_the_figure_is_1200_pixels_wide_on_the_page_s_colour(tmp_path, theme):
    frames = records(30, capacity_bps=1e6, capacity_low_bps=8e5, cpu_busy=0.5, cpu_own=0.2)
    draw_run(tmp_path / "run.png", frames, steps([1.0, 0.5], 1.0), theme)
    drawn = figure(tmp_path / "run.png")
    assert drawn.shape[1] == 1200
    assert drawn[2, 2, ::-1].tolist() == pytest.approx([255 * part for part in to_rgb(theme.page)], abs=1)


@pytest.mark.parametrize(
    "frames",
    [
        records(1),
        records(20, deadline_ms=0.0),
        records(20, outcome="overtaken", total_ms=None, point=None, mode=None),
        records(20, outcome="local", point="local", mode="local", load_factor=12.0),
        [*records(20), FrameRecord(99.0, 990, "late", 200.0, 9000, 5000.0, "webp 20", "image")],
    ],
    ids=["one frame", "no deadline", "all overtaken", "no link", "very late"],
)
def test_whatever_a_run_was_can_be_drawn(tmp_path, frames):
    draw_run(tmp_path / "run.png", frames, None, LIGHT)
    assert figure(tmp_path / "run.png") is not None


def test_the_command_draws_a_run_with_its_link(tmp_path, capsys):
    (tmp_path / "run.jsonl").write_text(json.dumps(OVERTAKEN) + "\n" + json.dumps(LINE) + "\n")
    (tmp_path / "run.link.csv").write_text("0,1.0\n10,0.5\n20,0\n")
    arguments = [str(tmp_path / "run.jsonl"), "--theme", "dark", "--out", str(tmp_path / "run.png")]
    assert main(["plot", *arguments]) == 0
    assert capsys.readouterr().out == f"2 frames, drawn to {tmp_path / 'run.png'}\n"
    found = figure(tmp_path / "run.png")
    assert main(["plot", *arguments, "--link", str(tmp_path / "run.link.csv"), "--link-start-s", "9.9"]) == 0
    assert (figure(tmp_path / "run.png") != found).any()


def test_the_command_says_what_is_wrong_in_a_line(tmp_path, capsys):
    assert main(["plot", str(tmp_path / "nothing.jsonl")]) == 2
    (tmp_path / "run.jsonl").write_text(json.dumps(LINE) + "\n")
    assert main(["plot", str(tmp_path / "run.jsonl"), "--from-s", "5"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("benchmarks plot: ") and "cannot be read" in first
    assert "has no frames between these seconds" in second
