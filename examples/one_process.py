"""Both halves in one process: a photograph, the bytes that a device would send, and what a server finds in them.

    python -m examples.one_process --out boxes.jpg

Without --image it takes a photograph out of scikit-image (the extra `demo`). The image on the front page of this
project was written by this program.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.detections import Detections
from splitnet.nn.architectures import architecture_of
from splitnet.settings import DEFAULT_BUNDLE

Image = NDArray[np.uint8]  # (H, W, 3) BGR

FONT = cv2.FONT_HERSHEY_SIMPLEX
DARK, WHITE = (40, 40, 40), (255, 255, 255)
COLOURS = ((200, 90, 0), (30, 140, 20), (20, 60, 200), (150, 30, 140))  # BGR, one label after another
SCORE_THRESHOLD = 0.4


def encode(device: DeviceBundle, image: Image, width: int, quality: int) -> bytes:
    """Return what a device sends for a frame (H, W, 3) uint8 BGR at a width and a quality."""
    canvas = device.manifest.fit(image.shape[1], image.shape[0], width).apply(image)
    symbols = device.encoder.encode(canvas, width, quality)
    return device.codec.compress(symbols, width, quality)


def detect(server: ServerBundle, payload: bytes, frame_size: tuple[int, int]) -> Detections:
    """Return what a server finds in a payload, in pixels of the frame of (width, height)."""
    manifest = server.manifest
    header, symbols = server.codec.decompress(payload)
    raw = server.half(server.half.dequantise(symbols, header.width, header.quality)[None])
    (found,) = architecture_of(manifest.detector).detections(raw, manifest.input_size, SCORE_THRESHOLD)
    letterbox = manifest.fit(*frame_size, header.width)
    return Detections(letterbox.boxes_to_frame(found.boxes), found.scores, found.labels)


def drawn(image: Image, found: Detections, names: tuple[str, ...], caption: str) -> Image:
    """Return a copy of a frame (H, W, 3) with boxes, names and scores, and a caption at its foot."""
    canvas: Image = image.copy()
    shown = {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(dict.fromkeys(found.labels.tolist()))}
    for box, score, label in zip(found.boxes.round().astype(int), found.scores, found.labels.tolist(), strict=True):
        left, top, right, bottom = box.tolist()
        cv2.rectangle(canvas, (left, top), (right, bottom), shown[label], 3)
        _write(canvas, f"{names[label]} {score:.2f}", (left, max(top, 22)), shown[label])
    _write(canvas, caption, (0, image.shape[0]), DARK)
    return canvas


def _write(canvas: Image, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Write white text on a bar of a colour, above a corner (left, bottom)."""
    left, bottom = corner
    (width, height), _ = cv2.getTextSize(text, FONT, 0.6, 2)
    cv2.rectangle(canvas, (left, bottom - height - 10), (left + width + 8, bottom), colour, cv2.FILLED)
    cv2.putText(canvas, text, (left + 4, bottom - 6), FONT, 0.6, WHITE, 1, cv2.LINE_AA)


def _photograph() -> Image:
    from skimage import data

    left, _, _ = data.stereo_motorcycle()  # type: ignore[no-untyped-call]
    return np.asarray(cv2.cvtColor(left, cv2.COLOR_RGB2BGR), np.uint8)


def _read(path: Path) -> Image:
    image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        sys.exit(f"{path} is not an image that can be read")
    return np.asarray(image, np.uint8)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.one_process", description=__doc__)
    parser.add_argument("--image", type=Path, metavar="FILE", help="an image (default: a photograph of scikit-image)")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle with both halves")
    parser.add_argument("--width", type=int, default=4, metavar="N", help="computation on the device (default: 4)")
    parser.add_argument("--quality", type=int, default=0, metavar="N", help="0 is the fewest bytes (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE.jpg", help="where to draw the boxes")
    return parser


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    """Encode, decode, print what was found, and draw it."""
    options = _parser().parse_args(arguments)
    image = _photograph() if options.image is None else _read(options.image)
    device, server = load_device(options.bundle), load_server(options.bundle)
    payload = encode(device, image, options.width, options.quality)
    found = detect(server, payload, (image.shape[1], image.shape[0]))
    names = server.manifest.class_names
    caption = f"w{options.width} q{options.quality}: {len(payload):,} bytes"
    print(caption, *(f"{names[i]} {score:.2f}" for i, score in zip(found.labels, found.scores, strict=True)), sep="\n")
    if options.out is not None:
        cv2.imwrite(str(options.out), drawn(image, found, names, caption), [cv2.IMWRITE_JPEG_QUALITY, 88])


if __name__ == "__main__":
    main()
