"""One picture of the whole run: annotated frames, a column for each operating point, time running down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness.images import Image
from demo.answers import Answer

CELL_WIDTH = 320
HEADING_HEIGHT = 34
CAPTION_HEIGHT = 50  # two lines below each frame
GAP = 10
INK = (40, 40, 40)

Cell = tuple[Image, tuple[str, str]]  # a frame, and what is written below it


def write_overview(
    path: Path, clip: Path, answers: Sequence[Answer], points: Sequence[str], rows: int, shown_s: float | None = None
) -> None:
    """Write a picture of the frames that `choose` names, taken out of the client's annotated clip, if there is one.

    rows: parts of the run, of equal length. shown_s: seconds of the whole source; until the last answer if unknown.
    """
    if not clip.exists():
        return
    capture = cv2.VideoCapture(str(clip))
    indexes = clip_indexes([answer.position_s for answer in answers], capture.get(cv2.CAP_PROP_FPS))
    cells = choose(answers, points, rows, shown_s)
    frames = _read(capture, {indexes[cell] for row in cells for cell in row if cell is not None})

    def cell_of(index: int | None) -> Cell | None:
        frame = None if index is None else frames.get(indexes[index])
        return None if index is None or frame is None else (frame, caption(answers[index]))

    whole = tiled([[cell_of(index) for index in row] for row in cells], points)
    path.write_bytes(cv2.imencode(".jpg", whole, (cv2.IMWRITE_JPEG_QUALITY, 90))[1].tobytes())


def choose(
    answers: Sequence[Answer], points: Sequence[str], rows: int, shown_s: float | None = None
) -> list[list[int | None]]:
    """Return for every part of the run, and every point, the index of the middle answer; None if there is none."""
    whole_s = shown_s or answers[-1].position_s
    parts = [min(rows - 1, int(answer.position_s / whole_s * rows)) if whole_s else 0 for answer in answers]
    return [
        [
            _middle([i for i, answer in enumerate(answers) if (parts[i], answer.point) == (row, point)])
            for point in points
        ]
        for row in range(rows)
    ]


def caption(answer: Answer) -> tuple[str, str]:
    """Return two lines about a frame: its cost, and what was found."""
    found = ", ".join(dict.fromkeys(answer.names)) or "nothing"
    return f"{answer.payload_bytes / 1000:.1f} KB, {answer.end_to_end_ms:.0f} ms", found


def clip_indexes(positions_s: Sequence[float], fps: float) -> list[int]:
    """Return which frame of the clip shows each answer: at its time, but never two in one."""
    indexes: list[int] = []
    for position in positions_s:
        indexes.append(max(round(position * fps), indexes[-1] + 1 if indexes else 0))
    return indexes


def tiled(cells: Sequence[Sequence[Cell | None]], headings: Sequence[str]) -> Image:
    """Return frames of one size as one picture, a heading over each column, a caption below each frame.

    None is left white.
    """
    height = _frame_height(cells)
    pitch = height + CAPTION_HEIGHT + GAP
    whole: Image = np.full((HEADING_HEIGHT + len(cells) * pitch, len(headings) * (CELL_WIDTH + GAP), 3), 255, np.uint8)
    for column, heading in enumerate(headings):
        left = column * (CELL_WIDTH + GAP)
        _write(whole, heading, left, HEADING_HEIGHT - 10, 0.9, 2)
        for row, cell in enumerate(line[column] for line in cells):
            if cell is not None:
                _place(whole, cell, HEADING_HEIGHT + row * pitch, left, height)
    return whole


def _place(whole: Image, cell: Cell, top: int, left: int, height: int) -> None:
    frame, lines = cell
    small = cv2.resize(frame, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
    whole[top : top + height, left : left + CELL_WIDTH] = small
    for number, line in enumerate(lines):
        _write(whole, line, left, top + height + 20 + 23 * number, 0.65, 1)


def _write(whole: Image, text: str, left: int, baseline: int, size: float, weight: int) -> None:
    """Write what there is room for."""
    while cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, weight)[0][0] > CELL_WIDTH:
        text = text[:-4] + "..."
    place = (left, baseline)
    cv2.putText(whole, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, INK, weight, cv2.LINE_AA)


def _frame_height(cells: Sequence[Sequence[Cell | None]]) -> int:
    """Return the height that keeps the frames' aspect ratio."""
    ratios = [cell[0].shape[0] / cell[0].shape[1] for row in cells for cell in row if cell is not None]
    return max(1, int(CELL_WIDTH * ratios[0] + 0.5)) if ratios else 1


def _middle(indexes: Sequence[int]) -> int | None:
    return indexes[len(indexes) // 2] if indexes else None


def _read(capture: cv2.VideoCapture, wanted: set[int]) -> dict[int, Image]:
    """Return the wanted frames of a video by index."""
    frames: dict[int, Image] = {}
    for index in range(max(wanted, default=-1) + 1):
        readable, frame = capture.read()
        if not readable or frame is None:
            break
        if index in wanted:
            frames[index] = np.asarray(frame, np.uint8)
    capture.release()
    return frames
