"""From a trained student to a bundle: fold, fit the integer tables on real symbols, store."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from splitnet.bundle import BundleParts, save_bundle
from splitnet.codec.entropy_model import EntropyModel
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox
from splitnet.manifest import Manifest
from splitnet.nn.detector import Detector
from splitnet.nn.encoder import EnsembleEncoder
from splitnet.nn.kinds import AnyEncoder
from splitnet.nn.split_detector import DeviceHalf, ServerHalf
from training.photographs import read_photograph
from training.student import Student

HISTOGRAM_RADIUS = 255  # symbols beyond are escapes anyway


def export_bundle(
    folder: Path, manifest: Manifest, student: Student, detector: Detector | None, photographs: Sequence[Path]
) -> Manifest:
    """Write a bundle and return its manifest.

    photographs: training pictures on which the entropy tables are fitted, whole and letterboxed as frames
    will be. detector: the unsplit one for the `image` mode. ConfigError if no picture is readable.
    """
    encoder = materialised(student)
    _round_to_half_precision(encoder)  # the tables must see the weights that will run
    gains, inverse_gains = (refined(each, manifest.widths, manifest.qualities) for each in student.quantiser.gains())
    counts = symbol_counts(DeviceHalf(encoder, gains), manifest.sides, photographs)
    server = ServerHalf(student.decoder, student.tail, inverse_gains, manifest.input_size)
    parts = BundleParts(manifest, encoder, gains, EntropyModel.fit(counts), server, detector)
    return save_bundle(folder, parts)


def materialised(student: Student) -> AnyEncoder:
    """Return the full-width encoder as it will run, with weights of its own."""
    if isinstance(student.encoder, EnsembleEncoder):
        return student.encoder.materialise(student.spec.encoder.members)
    return copy.deepcopy(student.encoder).requires_grad_(False).eval()


def refined(gains: Tensor, widths: int, qualities: int) -> Tensor:
    """Return gains (1 or widths, trained qualities, L) for all widths, and for as many qualities as are wanted.

    Between two trained qualities lie geometric means of their gains, whose rates lie between theirs (Cui et al., arXiv
    2003.02012). ConfigError if the trained qualities are not evenly among those wanted.
    """
    trained = gains.shape[1]
    if qualities != trained and (trained < 2 or (qualities - 1) % (trained - 1)):
        raise ConfigError(f"{qualities} qualities do not lie evenly between {trained} trained ones")
    finer = F.interpolate(gains.log().transpose(1, 2), qualities, mode="linear", align_corners=True)
    return finer.transpose(1, 2).exp().expand(widths, -1, -1).contiguous()


def symbol_counts(device: DeviceHalf, sides: Sequence[int], photographs: Sequence[Path]) -> NDArray[np.int64]:
    """Return histograms (widths, qualities, channels, 2R+1) of the symbols of photographs, unreadable ones left out.

    sides: of the square that photographs are fitted into at each width.
    ConfigError if no symbol was seen: tables of nothing would code anything badly.
    """
    bins = 2 * HISTOGRAM_RADIUS + 1
    counts = np.zeros((device.widths, device.qualities, device.spec.latent_channels, bins), np.int64)
    for path in tqdm(photographs, unit="picture", desc="entropy tables"):
        frame = read_photograph(path)
        if frame is None:
            continue
        for width, side in enumerate(sides):
            canvas = Letterbox.fit(frame.shape[1], frame.shape[0], side).apply(frame)
            latent = device.latent(canvas, width + 1)
            for quality in range(device.qualities):
                counts[width, quality] += symbol_histogram(device.quantise(latent, width + 1, quality))
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
def _round_to_half_precision(encoder: AnyEncoder) -> None:
    for tensor in encoder.state_dict().values():
        tensor.copy_(tensor.half().float())
