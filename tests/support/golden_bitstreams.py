"""The latent and the tables behind the golden bitstreams in tests/data, made of integers alone.

Run `python -m tests.support.golden_bitstreams` to write the files anew. Do so only together with a new
bitstream version: devices in the field go on sending the old bytes.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from splitnet.codec import rans
from splitnet.codec.bitstream import Limits
from splitnet.codec.change_codec import ChangeCodec
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS
from splitnet.codec.change_model import ChangeModel
from splitnet.codec.contexts import CONTEXTS
from splitnet.codec.entropy_model import TOTAL, EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.layers import LayeredCodec
from splitnet.codec.references import Reference, ReferenceStore
from splitnet.operating_point import Codec

DATA = Path(__file__).resolve().parents[1] / "data"
NAMES = ("rans", "zstd", "rans_context")
CHANGES = "changes"  # the golden latent as changes against another one
LAYERED = "layers"  # a latent in layers, one after the other
SHAPE = (4, 5, 7)
WIDTH, QUALITY = 2, 1
DIGEST = bytes.fromhex("0123456789abcdef")


def golden_model() -> EntropyModel:
    """Two widths, two qualities, four channels; five tables from sharp to flat, one of them off centre."""
    return _model((np.arange(16, dtype=np.uint16) % 5).reshape(2, 2, 4, 1))


def golden_context_model() -> EntropyModel:
    """The same tables, in contexts: each channel has its own as before, and others for its neighbourhoods."""
    return _model((np.arange(16 * CONTEXTS, dtype=np.uint16) * 7 // CONTEXTS % 5).reshape(2, 2, 4, CONTEXTS))


def _model(table_index: np.ndarray) -> EntropyModel:
    tables = [
        (0, [TOTAL - 1, 1]),
        (-1, [3000, TOTAL - 6010, 3000, 10]),
        (-3, [800, 2000, 5000, TOTAL - 15_700, 5000, 2000, 800, 100]),
        (7, [1, 1, TOTAL - 4, 1, 1]),
        (-8, [TOTAL // 17] * 16 + [TOTAL - 16 * (TOTAL // 17)]),
    ]
    cdfs = [np.concatenate(([0], np.cumsum(frequencies))) for _, frequencies in tables]
    return EntropyModel(
        np.concatenate(cdfs).astype(np.uint16),
        np.cumsum([0] + [len(cdf) for cdf in cdfs]).astype(np.int32),
        np.array([offset for offset, _ in tables], np.int32),
        table_index,
    )


def golden_symbols() -> np.ndarray:
    """Values around the centre of each channel's table, with outliers up to both ends of int16."""
    noise = np.arange(np.prod(SHAPE), dtype=np.int64).reshape(SHAPE[0], -1)
    noise = (noise * 1_103_515_245 + 12_345) % 2**31 >> 16
    peaked = noise[0] % 4 - noise[0] // 4 % 4
    symbols = np.stack([peaked, np.full_like(peaked, 9), noise[2] % 16 - 8, np.zeros_like(peaked)])
    symbols.flat[[3, 40, 60, 100, 138]] = [-32768, 10, 32767, -200, 1]
    return symbols.reshape(SHAPE).astype(np.int16)


def golden_codec() -> FeatureCodec:
    """Return the codec that golden_rans.bin and golden_zstd.bin were made with."""
    return FeatureCodec(golden_model(), DIGEST, SHAPE)


def golden_context_codec() -> FeatureCodec:
    """Return the codec that golden_rans_context.bin was made with."""
    return FeatureCodec(golden_context_model(), DIGEST, SHAPE)


@cache
def golden_change_model() -> ChangeModel:
    """Return tables of changes made from integers alone."""
    flags = 1 + np.arange(2 * FLAG_CONTEXTS * 2).reshape(2, FLAG_CONTEXTS, 2) * 7 % 50
    changes = np.arange(2 * SHAPE[0] * CHANGE_CONTEXTS * 7).reshape(2, SHAPE[0], CHANGE_CONTEXTS, 7) * 11 % 30
    changes[..., 3] += 200
    return ChangeModel.fit(flags, changes)


@cache
def golden_change_codec() -> ChangeCodec:
    """Return the codec that golden_changes.bin was made with."""
    gains = np.ones((2, 2, SHAPE[0]), np.float32) * np.array([1.0, 1.5], np.float32)[:, None]
    return ChangeCodec(golden_change_model(), golden_model(), gains, DIGEST)


@cache
def golden_layered_codec() -> LayeredCodec:
    """Return the codec that golden_layers.bin was made with: the golden tables, and three qualities far apart."""
    model = _model((np.arange(24, dtype=np.uint16) % 5).reshape(2, 3, 4, 1))
    steps = np.array([1.0, 1.5, 4.0], np.float32)[:, None] * np.array([1.0, 0.8, 1.2, 1.0], np.float32)
    gains = np.broadcast_to(steps, (2, 3, SHAPE[0])).copy()
    gains[:, :, 1] = 1.0  # a channel that no quality makes coarser
    return LayeredCodec(model, gains, Limits(DIGEST, 2, 3, *SHAPE), rans.Tables.build(model))


def golden_layered_symbols() -> np.ndarray:
    """Return the golden latent, without the outliers that a frame in layers cannot hold."""
    return np.clip(golden_symbols(), -2000, 2000)


def golden_reference() -> Reference:
    """Return the frame that golden_changes.bin builds on: of the other quality, and most of it stays."""
    symbols = golden_symbols()
    symbols[:, ::2, ::3] += 2
    changed = (np.arange(SHAPE[1] * SHAPE[2]).reshape(SHAPE[1:]) % 4 == 0).astype(np.uint8)
    return Reference(258, WIDTH, 0, symbols, changed)


def golden_references() -> ReferenceStore:
    """Return what a server holds that takes golden_changes.bin."""
    store = ReferenceStore()
    store.put(golden_reference())
    return store


@cache
def golden_codec_of(name: str) -> FeatureCodec:
    """Return the codec that golden_NAME.bin was made with."""
    return golden_context_codec() if name == "rans_context" else golden_codec()


def golden_bitstream(name: str) -> bytes:
    """Read tests/data/golden_NAME.bin."""
    return (DATA / f"golden_{name}.bin").read_bytes()


if __name__ == "__main__":
    for name in NAMES:
        bitstream = golden_codec_of(name).compress(golden_symbols(), WIDTH, QUALITY, Codec(name.split("_")[0]))
        (DATA / f"golden_{name}.bin").write_bytes(bitstream)
        print(f"golden_{name}.bin: {len(bitstream)} bytes")
    changes = golden_change_codec().compress(golden_symbols(), WIDTH, QUALITY, golden_reference())
    (DATA / f"golden_{CHANGES}.bin").write_bytes(changes)
    layers = b"".join(golden_layered_codec().compress(golden_layered_symbols(), WIDTH, 2))
    (DATA / f"golden_{LAYERED}.bin").write_bytes(layers)
    print(f"golden_{LAYERED}.bin: {len(layers)} bytes")
    print(f"golden_{CHANGES}.bin: {len(changes)} bytes")
