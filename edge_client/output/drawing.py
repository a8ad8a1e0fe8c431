"""Boxes, names and scores drawn into a frame."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edge_client.frames import FrameResult, Image
from edge_client.output.detection_record import label_name


def annotated(result: FrameResult, class_names: Sequence[str]) -> Image:
    """Return a copy of the frame (H, W, 3) uint8 BGR with boxes, names, scores and the operating point."""
    image: Image = result.frame.image.copy()
    found = result.detections
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        name = label_name(int(label), class_names)
        _draw_box(image, [round(float(side)) for side in box], f"{name} {score:.2f}", _colour(int(label)))
    kilobytes = len(result.encoded.payload) / 1000
    caption = f"{result.encoded.point}  {kilobytes:.1f} KB  {result.end_to_end_ms:.0f} ms"
    _draw_text(image, caption, 4, image.shape[0] - 6, (40, 40, 40))
    return image


def fitted(image: Image, size: tuple[int, int]) -> Image:
    """Return an image of exactly `size` (width, height), scaled down to fit inside and padded with black."""
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    scale = min(1.0, width / image.shape[1], height / image.shape[0])
    scaled_size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    padded: Image = np.zeros((height, width, 3), np.uint8)
    padded[: scaled_size[1], : scaled_size[0]] = image if scale == 1 else cv2.resize(image, scaled_size)
    return padded


def _draw_box(image: Image, box: Sequence[int], caption: str, colour: tuple[int, int, int]) -> None:
    left, top, right, bottom = box
    cv2.rectangle(image, (left, top), (right, bottom), colour, 2)
    _draw_text(image, caption, left, max(top - 4, 12), colour)


def _draw_text(image: Image, text: str, left: int, baseline: int, colour: tuple[int, int, int]) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    corners = (left, baseline - height - 3), (left + width, baseline + 3)
    cv2.rectangle(image, *corners, colour, cv2.FILLED)
    cv2.putText(image, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (255, 255, 255), 1, cv2.LINE_AA)


def _colour(label: int) -> tuple[int, int, int]:
    """Return a dark, saturated BGR colour; neighbouring labels lie far apart on the wheel."""
    hsv = np.array([[[label * 67 % 180, 220, 170]]], np.uint8)
    blue, green, red = (int(channel) for channel in cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0])
    return blue, green, red
