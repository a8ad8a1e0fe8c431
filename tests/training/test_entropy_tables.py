"""Tables are fitted on what is sent: every symbol counted in its channel and its context, at its operating point."""

from __future__ import annotations

import numpy as np
import torch

from splitnet.codec.contexts import CONTEXTS, NEIGHBOURHOODS, contexts
from splitnet.codec.entropy_model import EntropyModel
from training.entropy_tables import HISTOGRAM_RADIUS, context_histogram, fit_tables, symbol_histogram

CENTRE = np.array([0, 2, -1], np.int16)


def symbols(seed: int, scale: float = 1.0) -> np.ndarray:
    """Return symbols (3, 12, 15) of patches, around 0, 2 and -1."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.normal(0, 2, (3, 4, 5)), np.ones((3, 3)))
    noise = rng.normal(0, 0.5, patches.shape)
    return np.rint(scale * (patches + noise) + CENTRE[:, None, None]).astype(np.int16)


def test_every_symbol_is_counted_in_its_channel():
    seen = symbols(0)
    counts = symbol_histogram(seen)
    assert counts.shape == (3, 2 * HISTOGRAM_RADIUS + 1)
    for channel in range(3):
        values, times = np.unique(seen[channel], return_counts=True)
        assert counts[channel, values + HISTOGRAM_RADIUS].tolist() == times.tolist()
    assert counts.sum() == seen.size


def test_every_symbol_is_counted_in_its_context():
    seen = symbols(1)
    counts = context_histogram(seen, CENTRE)
    assert counts.shape == (3, NEIGHBOURHOODS, 2 * HISTOGRAM_RADIUS + 1)
    np.testing.assert_array_equal(counts.sum(axis=1), symbol_histogram(seen))
    found = contexts(seen, CENTRE)
    for channel, context in np.ndindex(3, NEIGHBOURHOODS):
        here = seen[channel][found[channel] == context + 1]
        assert counts[channel, context].sum() == here.size
        assert counts[channel, context] @ np.arange(-HISTOGRAM_RADIUS, HISTOGRAM_RADIUS + 1) == here.sum()


def test_symbols_beyond_the_histogram_are_left_to_the_escape():
    seen = np.array([-400, 300, 255, -255, 32767, -32768], np.int16).reshape(1, 2, 3)
    assert symbol_histogram(seen).sum() == context_histogram(seen, CENTRE[:1]).sum() == 2


def fitted(images: int = 20) -> EntropyModel:
    """Fit two widths and two qualities."""
    latents = [[torch.from_numpy(symbols(seed, 1.0 + width)).float() for seed in range(images)] for width in (0, 1)]
    return fit_tables(latents, 2, lambda latent, width, quality: quantised(latent, quality))


def quantised(latent: torch.Tensor, quality: int) -> np.ndarray:
    return (latent * (1.0 + quality)).round().short().numpy()


def test_tables_fit_each_point_and_gain_by_their_contexts():
    model = fitted()
    assert model.table_index.shape == (2, 2, 3, CONTEXTS)
    alone = EntropyModel(model.quantized_cdf, model.cdf_start, model.offset, model.table_index[..., :1].copy())
    for width, quality in np.ndindex(2, 2):
        unseen = quantised(torch.from_numpy(symbols(99, 1.0 + width)).float(), quality)
        bits = np.array([[model.bits(unseen, w + 1, q) for q in range(2)] for w in range(2)])
        assert np.unravel_index(bits.argmin(), bits.shape) in ((width, quality), (quality, width))  # 2 x 1 is 1 x 2
        assert bits[width, quality] < 0.96 * alone.bits(unseen, width + 1, quality)


def test_fitting_twice_gives_the_same_tables():
    assert fitted(3).digest() == fitted(3).digest()
