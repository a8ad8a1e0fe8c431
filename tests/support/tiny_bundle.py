"""A whole bundle with random weights, small enough to make anew in every test run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from splitnet.bundle import BundleParts, save_bundle
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.entropy_model import EntropyModel
from splitnet.manifest import Manifest
from splitnet.nn.decoder import Decoder, DecoderSpec
from splitnet.nn.encoder.ensemble import EnsembleEncoder, EnsembleSpec
from splitnet.nn.split_detector import ServerHalf
from splitnet.nn.yolox.network import YOLOX

WIDTHS, QUALITIES, CHANNELS, CLASSES, INPUT_SIZE = 4, 3, 12, 80, 64
ENCODER = EnsembleSpec(members=WIDTHS, stem_channels=4, mid_channels=6, channels=8, blocks=2, latent_channels=CHANNELS)
DECODER = DecoderSpec(channels=16, blocks=1, branch_channels=8, branch_blocks=1)


def write_tiny_bundle(folder: Path, seed: int = 0, split_point: str = "dark3") -> Manifest:
    """Write a bundle of 64 px, 4 widths, 3 qualities and 80 classes; another seed gives another digest."""
    torch.manual_seed(seed)
    names = tuple(f"class {i}" for i in range(CLASSES))
    manifest = Manifest(f"tiny-{seed}", "yolox-nano", split_point, INPUT_SIZE, names, QUALITIES, ENCODER, DECODER, {})
    encoder = EnsembleEncoder(ENCODER).materialise(WIDTHS)
    gains = torch.tensor([0.02, 0.04, 0.08])[None, :, None].expand(WIDTHS, QUALITIES, CHANNELS)
    detector = YOLOX("yolox-nano", CLASSES)
    rest = YOLOX("yolox-nano", CLASSES, split_point)
    decoder = Decoder(DECODER, CHANNELS, "yolox-nano", split_point)
    server = ServerHalf(decoder, rest, 1 / gains, INPUT_SIZE)
    parts = BundleParts(manifest, encoder, gains, tables_of(WIDTHS), server, detector, change_tables())
    return save_bundle(folder, parts)


def tables_of(widths: int) -> EntropyModel:
    """Return entropy tables of a tiny bundle of so many widths: wider ones at finer qualities."""
    symbols = np.abs(np.arange(-16, 17))
    rows = [np.round(1000 * np.exp(-symbols / (1.0 + quality))) for quality in range(QUALITIES)]
    counts = np.array(rows, np.int64)[None, :, None, :]
    return EntropyModel.fit(np.broadcast_to(counts, (widths, QUALITIES, CHANNELS, 33)).copy())


def change_tables() -> ChangeModel:
    """Return tables for frames of a tiny bundle coded against references."""
    flags = np.broadcast_to([90, 10], (QUALITIES, FLAG_CONTEXTS, 2))
    changes = np.round(1000 * np.exp(-2.0 * np.abs(np.arange(-4, 5)))).astype(np.int64)
    return ChangeModel.fit(flags, np.broadcast_to(changes, (QUALITIES, CHANNELS, CHANGE_CONTEXTS, 9)).copy())
