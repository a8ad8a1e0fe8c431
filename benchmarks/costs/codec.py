"""Bytes and time of the feature codec, against the entropy of its tables and Zstandard."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.benchmark import Benchmark, milliseconds_p50
from benchmarks.harness.images import frames_from
from splitnet.bundle import DeviceBundle, load_device
from splitnet.codec.bitstream import HEADER_BYTES
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.zstd_symbols import compress_zstd
from splitnet.errors import ConfigError
from splitnet.letterbox import Letterbox

SHAPE = (48, 20, 20)  # 19,200 symbols: the latent of a 320 px image
MAIN_CASE = "laplacian"
_RADIUS = 128
_TRAINING_POSITIONS = 50_000


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=300, help="how often each call is timed (%(default)s)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="measure this bundle's own symbols as well")
    parser.add_argument("--images", type=Path, metavar="DIR", help="images to encode with the bundle")
    parser.add_argument("--limit", type=int, default=50, metavar="N", help="images at most (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the figures of the main case, and rows for every case and every point of the bundle."""
    if (options.bundle is None) != (options.images is None):
        raise ConfigError("give both --bundle and --images, or neither")
    points = {} if options.bundle is None else _bundle_figures(options)
    cases = [{"case": name, **_synthetic(name, options.repeats)} for name in _SCALES]
    main = next(case for case in cases if case["case"] == MAIN_CASE)
    return {**{key: value for key, value in main.items() if key != "case"}, "cases": cases, **points}


BENCHMARK = Benchmark("codec", "bytes and time of the feature codec", _add_arguments, run)

# Laplacian scale per channel, as trained latents have it: some channels silent, a few busy.
_SCALES = {
    "silent": np.zeros(SHAPE[0]),
    "sparse": np.linspace(0.02, 0.6, SHAPE[0]),
    "laplacian": np.linspace(0.02, 1.15, SHAPE[0]),
    "busy": np.linspace(0.5, 12.0, SHAPE[0]),
    "outliers": np.linspace(0.02, 1.15, SHAPE[0]),
}


def _synthetic(case: str, repeats: int) -> dict[str, object]:
    """Measure one case: tables fitted to one sample, another one coded."""
    rng = np.random.default_rng(0)
    model = EntropyModel.fit(_histograms(_laplacian(rng, case, _TRAINING_POSITIONS)))
    symbols = _laplacian(rng, case, SHAPE[1] * SHAPE[2]).reshape(SHAPE)
    if case == "outliers":
        symbols.reshape(-1)[rng.choice(symbols.size, 200, replace=False)] = rng.integers(-2000, 2000, 200)
    return _measure(FeatureCodec(model, bytes(8), SHAPE), symbols, 1, 0, repeats)


def _laplacian(rng: np.random.Generator, case: str, positions: int) -> NDArray[np.int16]:
    sample = rng.laplace(0.0, 1.0, (SHAPE[0], positions)) * _SCALES[case][:, None]
    return np.rint(sample).astype(np.int16)


def _histograms(symbols: NDArray[np.int16]) -> NDArray[np.int64]:
    """Count symbols (C, n) into (1, 1, C, 2R+1)."""
    clipped = symbols.clip(-_RADIUS, _RADIUS) + _RADIUS
    return np.stack([np.bincount(row, minlength=2 * _RADIUS + 1) for row in clipped])[None, None]


def _measure(
    codec: FeatureCodec, symbols: NDArray[np.int16], width: int, quality: int, repeats: int
) -> dict[str, object]:
    """Return sizes of the payload alone, and times of the whole calls, header and checks included."""
    bitstream = codec.compress(symbols, width, quality)
    return {
        "symbols": symbols.size,
        "entropy_bytes": codec.model.bits(symbols, width, quality) / 8,
        "rans_bytes": len(bitstream) - HEADER_BYTES,
        "zstd3_bytes": len(compress_zstd(symbols, 3)),
        "zstd19_bytes": len(compress_zstd(symbols, 19)),
        "escapes": int(codec.model.escaped(symbols, width, quality).sum()),
        "encode_ms_p50": milliseconds_p50(lambda: codec.compress(symbols, width, quality), repeats),
        "decode_ms_p50": milliseconds_p50(lambda: codec.decompress(bitstream), repeats),
    }


def _bundle_figures(options: Namespace) -> dict[str, object]:
    bundle = load_device(options.bundle)
    canvases = _canvases(options.images, options.limit, bundle.manifest.input_size)
    name = f"{bundle.manifest.name} {bundle.manifest.digest[:12]}"
    return {"bundle": name, "pictures": len(canvases), "points": _points(bundle, canvases, options.repeats)}


def _canvases(folder: Path, limit: int, input_size: int) -> list[NDArray[np.uint8]]:
    """Read images as the device would: letterboxed into the bundle's square."""
    frames = frames_from(folder, limit)
    return [Letterbox.fit(frame.shape[1], frame.shape[0], input_size).apply(frame) for frame in frames]


def _points(bundle: DeviceBundle, canvases: Sequence[NDArray[np.uint8]], repeats: int) -> list[dict[str, object]]:
    """Return one row per width and quality: means over the images."""
    rows: list[dict[str, object]] = []
    for width in range(1, bundle.manifest.widths + 1):
        for quality in range(bundle.manifest.qualities):
            latents = [bundle.encoder.encode(canvas, width, quality) for canvas in canvases]
            each = max(1, repeats // len(latents))
            frames = [_measure(bundle.codec, symbols, width, quality, each) for symbols in latents]
            rows.append({"width": width, "quality": quality, **_mean(frames)})
    return rows


def _mean(frames: Sequence[dict[str, object]]) -> dict[str, object]:
    return {key: fmean(float(str(frame[key])) for frame in frames) for key in frames[0]}
