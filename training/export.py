"""From a trained student to a bundle: fold, fit the integer tables on real symbols, store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from splitnet.bundle import BundleParts, save_bundle
from splitnet.codec.entropy_model import EntropyModel
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest
from splitnet.nn.encoder import PlainEncoder
from splitnet.nn.split_detector import DeviceHalf, ServerHalf
from splitnet.nn.yolox import YOLOX
from training.photographs import read_photograph
from training.student import Student

HISTOGRAM_RADIUS = 255  # symbols beyond are escapes anyway


def export_bundle(
    folder: Path, manifest: Manifest, student: Student, detector: YOLOX | None, photographs: Sequence[Path]
) -> Manifest:
    """Write a bundle and return its manifest.

    photographs: training pictures on which the entropy tables are fitted, whole and letterboxed as frames
    will be. detector: the unsplit one for the `image` mode. ConfigError if no picture is readable.
    """
    encoder = student.encoder.materialise(student.spec.encoder.members)
    _round_to_half_precision(encoder)  # the tables must see the weights that will run
    gains, inverse_gains = student.quantiser.gains()
    counts = symbol_counts(DeviceHalf(encoder, gains), manifest.input_size, photographs)
    server = ServerHalf(student.decoder, student.tail, inverse_gains, manifest.input_size)
    parts = BundleParts(manifest, encoder, gains, EntropyModel.fit(counts), server, detector)
    return save_bundle(folder, parts)


def symbol_counts(device: DeviceHalf, input_size: int, photographs: Sequence[Path]) -> NDArray[np.int64]:
    """Return histograms (widths, qualities, channels, 2R+1) of the symbols of photographs, unreadable ones left out.

    ConfigError if no symbol was seen: tables of nothing would code anything badly.
    """
    bins = 2 * HISTOGRAM_RADIUS + 1
    counts = np.zeros((device.widths, device.qualities, device.spec.latent_channels, bins), np.int64)
    for path in tqdm(photographs, unit="picture", desc="entropy tables"):
        frame = read_photograph(path)
        if frame is None:
            continue
        canvas = Letterbox.fit(frame.shape[1], frame.shape[0], input_size).apply(frame)
        for width, quality in np.ndindex(device.widths, device.qualities):
            symbols = device.encode(canvas, width + 1, quality)
            counts[width, quality] += symbol_histogram(symbols)
    if not counts.any():
        raise ConfigError(f"none of {len(photographs)} photographs can be read to fit the entropy tables on")
    return counts


def symbol_histogram(symbols: NDArray[np.int16]) -> NDArray[np.int64]:
    """Return how often each of -R..R occurs in each channel of (C, h, w), as (C, 2R+1)."""
    channels, bins = symbols.shape[0], 2 * HISTOGRAM_RADIUS + 1
    shifted = symbols.reshape(channels, -1).astype(np.int64) + HISTOGRAM_RADIUS
    inside = (shifted >= 0) & (shifted < bins)
    flat = (shifted + bins * np.arange(channels)[:, None])[inside]
    return np.bincount(flat, minlength=channels * bins).reshape(channels, bins)


@torch.no_grad()
def _round_to_half_precision(encoder: PlainEncoder) -> None:
    for tensor in encoder.state_dict().values():
        tensor.copy_(tensor.half().float())
