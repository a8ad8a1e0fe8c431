"""What is found in what a server received, in pixels of the clip's frames, by a bundle and by a judge."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.nn.architectures import INPUT_SIZES, architecture_of
from splitnet.nn.detector import Detector, Size
from splitnet.nn.split_detector import image_input
from training.detectors.family import family_of

Canvas = NDArray[np.uint8]  # (H, W, 3) BGR, scaled and padded as the device does

SCORE_THRESHOLD = 0.01  # low, so that a precision-recall curve is whole


@dataclass(frozen=True)
class WholeDetector:
    """An unsplit detector and the side of its square."""

    detector: Detector
    input_size: int

    @classmethod
    def read(cls, path: Path, name: str) -> WholeDetector:
        """Read a detector `name` from a file of weights, at the size that it was published for. Raises ConfigError."""
        return cls(family_of(name).load(path, name).eval().fuse(), INPUT_SIZES[name])

    @torch.inference_mode()
    def look(self, canvas: Canvas, box: Letterbox) -> Detections:
        """Return what is on a canvas that a letterbox made, for this square or another."""
        fills = architecture_of(self.detector.name).fills
        raw = self.detector(image_input(canvas, self.input_size, fills)[None])
        return in_frame(self.detector.name, raw, self.input_size, box, self.input_size if fills else None)


@dataclass(frozen=True)
class Eyes:
    """A bundle's server half and its unsplit detector, for the frames of one clip."""

    server: ServerBundle
    whole: WholeDetector
    box: Letterbox  # of images
    memo: dict[bytes, Tensor] | None = None  # latents of canvases, where nobody asks what they take

    def latent(self, device: DeviceBundle, canvas: Canvas, width: int) -> Tensor:
        """Return what the device half makes of a canvas at a width."""
        if self.memo is None:
            return device.encoder.latent(canvas, width)
        key = bytes([width]) + blake2b(canvas.tobytes()).digest()
        if key not in self.memo:
            self.memo[key] = device.encoder.latent(canvas, width)
        return self.memo[key]

    def image(self, canvas: Canvas) -> Detections:
        """Return what the unsplit detector finds on a canvas."""
        return self.whole.look(canvas, self.box)

    @torch.inference_mode()
    def symbols(self, symbols: NDArray[np.int16], width: int, quality: int) -> Detections:
        """Return what the server half finds in symbols (C, h, w)."""
        manifest, latent = self.server.manifest, self.server.half.dequantise(symbols, width, quality)
        seen = manifest.input_size, manifest.input_size
        return in_frame(manifest.detector, self.server.half(latent[None]), seen, self.split_box(width), None)

    def split_box(self, width: int) -> Letterbox:
        """Return where a frame lies on the canvas of a width."""
        return self.server.manifest.fit(self.box.frame_width, self.box.frame_height, width)


def in_frame(name: str, raw: Tensor, seen: Size, box: Letterbox, filled: int | None) -> Detections:
    """Return raw predictions (1, A, ...) as detections in pixels of the frame."""
    (found,) = architecture_of(name).detections(raw.float(), seen, SCORE_THRESHOLD)
    return Detections(box.boxes_to_frame(found.boxes, filled), found.scores, found.labels)
