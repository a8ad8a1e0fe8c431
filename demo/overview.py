"""One picture of the whole run: annotated frames, a column for each operating point, time running down."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness.images import Image
from demo.answers import Answer
from demo.schedule import ROUNDS

CELL_WIDTH = 400
HEADING_HEIGHT = 30
GAP = 6


def write_overview(path: Path, clip: Path, answers: Sequence[Answer], points: Sequence[str]) -> None:
    """Write a picture of the frames that `choose` names, taken out of the client's annotated clip, if there is one."""
    if not clip.exists():
        return
    capture = cv2.VideoCapture(str(clip))
    indexes = clip_indexes([answer.position_s for answer in answers], capture.get(cv2.CAP_PROP_FPS))
    cells = choose(answers, points, ROUNDS)
    wanted = {indexes[cell] for row in cells for cell in row if cell is not None}
    frames = _read(capture, wanted)
    pictures = [[None if cell is None else frames.get(indexes[cell]) for cell in row] for row in cells]
    cv2.imwrite(str(path), tiled(pictures, points), [cv2.IMWRITE_JPEG_QUALITY, 90])


def choose(answers: Sequence[Answer], points: Sequence[str], rows: int) -> list[list[int | None]]:
    """Return for every part of the run, and every point, the index of the middle answer; None if there is none."""
    last = answers[-1].position_s
    parts = [min(rows - 1, int(answer.position_s / last * rows)) if last else 0 for answer in answers]
    return [
        [
            _middle([i for i, answer in enumerate(answers) if (parts[i], answer.point) == (row, point)])
            for point in points
        ]
        for row in range(rows)
    ]


def clip_indexes(positions_s: Sequence[float], fps: float) -> list[int]:
    """Return which frame of the clip shows each answer: at its time, but never two in one."""
    indexes: list[int] = []
    for position in positions_s:
        indexes.append(max(round(position * fps), indexes[-1] + 1 if indexes else 0))
    return indexes


def tiled(pictures: Sequence[Sequence[Image | None]], headings: Sequence[str]) -> Image:
    """Return pictures of one size as one, a row for each of the rows, a heading over each column.

    None is left white.
    """
    height = _cell_height(pictures)
    shape = (HEADING_HEIGHT + len(pictures) * (height + GAP), len(headings) * (CELL_WIDTH + GAP), 3)
    whole: Image = np.full(shape, 255, np.uint8)
    for column, heading in enumerate(headings):
        place = (column * (CELL_WIDTH + GAP), HEADING_HEIGHT - 9)
        cv2.putText(whole, heading, place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (40, 40, 40), 1, cv2.LINE_AA)
        for row, picture in enumerate(line[column] for line in pictures):
            if picture is not None:
                top, left = HEADING_HEIGHT + row * (height + GAP), column * (CELL_WIDTH + GAP)
                cell = cv2.resize(picture, (CELL_WIDTH, height), interpolation=cv2.INTER_AREA)
                whole[top : top + height, left : left + CELL_WIDTH] = cell
    return whole


def _cell_height(pictures: Sequence[Sequence[Image | None]]) -> int:
    """Return the height that keeps the pictures' aspect ratio."""
    ratios = [cell.shape[0] / cell.shape[1] for row in pictures for cell in row if cell is not None]
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
