"""Code the tensors behind a cut in their principal components, at several ranks and step sizes, as a bundle would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.codec.bitstream import DIGEST_BYTES
from splitnet.codec.contexts import NEIGHBOURHOODS
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.nn.encoder.projection import BackProjection, Patch, Projection
from splitnet.nn.yolox.architecture import SILU_MIN
from splitnet.quantiser import MAX_SYMBOL
from training.cuts.components import Basis, fill_back_projection, fill_projection, patches_of
from training.entropy_tables import HISTOGRAM_RADIUS, context_histogram, symbol_histogram

Symbols = NDArray[np.int16]
_DIGEST = bytes(DIGEST_BYTES)  # nothing leaves this process


def gains_of(bases: Mapping[str, Basis], patches: Mapping[str, Patch], steps: Sequence[float]) -> Tensor:
    """Return the gains (1, steps, L) of a latent; a step is in standard deviations of the tensor's channels.

    The transform is orthonormal, so one step for all of a tensor's components costs the fewest bytes for an error
    (reverse water-filling). Steps in deviations spread the error over tensors of different size.
    """
    gains = np.ones((len(steps), sum(patch.latent_channels for patch in patches.values())))
    first = 0
    for name, patch in patches.items():
        gains[:, first : first + patch.latent_channels - 1] /= np.outer(steps, [bases[name].deviation])
        first += patch.latent_channels
    return torch.from_numpy(gains[None]).float()


class LatentStatistics:
    """Learns from latents, one after the other, what codes their symbols and what undoes the gains (1, steps, L)."""

    def __init__(self, gains: Tensor) -> None:
        steps, channels = gains.shape[1:]
        self._gains = gains[0]
        self._counts = np.zeros((1, steps, channels, 2 * HISTOGRAM_RADIUS + 1), np.int64)
        self._products = torch.zeros(steps, channels, dtype=torch.float64)
        self._squares = torch.zeros(steps, channels, dtype=torch.float64)

    @torch.inference_mode()
    def add(self, latent: Tensor) -> None:
        """Take a latent (1, L, H, W) in."""
        for step, gain in enumerate(self._gains):
            symbols = quantised(latent[0], gain)
            self._counts[0, step] += symbol_histogram(symbols.to(torch.int16).numpy())
            self._products[step] += (latent[0] * symbols).sum(dim=(1, 2))
            self._squares[step] += (symbols * symbols).sum(dim=(1, 2))

    def entropy_model(self) -> EntropyModel:
        """Return the channels' own tables, of the symbols so far."""
        return EntropyModel.fit(self._counts)

    def inverse_gains(self) -> Tensor:
        """Return what undoes the gains, (1, steps, L) float32, positive.

        Most values of a symbol's interval lie at its inner end, so undoing the gain exactly would come out too large;
        best is a regression of the values on their symbols.
        """
        slope = (self._products / self._squares.clamp(min=1.0)).float()
        return torch.where(slope > 0, slope, 1 / self._gains)[None]


class ContextStatistics:
    """Learns from latents once more, when the channels' own tables are known, what codes their symbols in context."""

    def __init__(self, gains: Tensor, alone: EntropyModel) -> None:
        self._gains, self._alone = gains[0], alone
        self._counts = np.zeros((1, *self._gains.shape, NEIGHBOURHOODS, 2 * HISTOGRAM_RADIUS + 1), np.int32)

    @torch.inference_mode()
    def add(self, latent: Tensor) -> None:
        """Take a latent (1, L, H, W) in."""
        for step, gain in enumerate(self._gains):
            symbols = quantised(latent[0], gain).to(torch.int16).numpy()
            self._counts[0, step] += context_histogram(symbols, self._alone.likeliest[0, step])

    def entropy_model(self) -> EntropyModel:
        """Return the channels' own tables and those of the contexts so far."""
        return self._alone.with_contexts(self._counts)


def quantised(latent: Tensor, gain: Tensor) -> Tensor:
    """Return the symbols (L, H, W) of a latent (L, H, W) at a gain (L,), as floats."""
    return (latent * gain[:, None, None]).round_().clamp_(-MAX_SYMBOL, MAX_SYMBOL)


@dataclass(frozen=True)
class Rank:
    """How many components of each tensor are kept, and the share of the variance that they hold at least."""

    energy: float
    components: Mapping[str, int]


def ranks_of(bases: Mapping[str, Basis], energies: Sequence[float]) -> tuple[Rank, ...]:
    """Return the ranks that hold so much energy, without those that equal the one before."""
    found: list[Rank] = []
    for energy in sorted(energies):
        components = {name: basis.components_for(energy) for name, basis in bases.items()}
        if not found or found[-1].components != components:
            found.append(Rank(energy, components))
    return tuple(found)


class CutCodec:
    """All ranks and steps of one cut. The components of a lower rank are the leading ones of a higher.

    sides: of the patch in which each tensor's positions are transformed. ranks: the highest last. floor: the least
    value of a feature.
    """

    def __init__(
        self,
        bases: Mapping[str, Basis],
        sides: Mapping[str, int],
        ranks: Sequence[Rank],
        steps: Sequence[float],
        floor: float = SILU_MIN,
    ) -> None:
        self.ranks, self.steps = tuple(ranks), tuple(steps)
        whole = patches_of(bases, ranks[-1].components, sides)
        self._patches = {name: replace(patch, floor=floor) for name, patch in whole.items()}
        self._gains = gains_of(bases, self._patches, steps)
        self._projection = Projection(self._patches).eval()
        fill_projection(self._projection, bases, self._patches)
        self._variants: list[_Variant] = []
        self._bases = bases

    @torch.inference_mode()
    def fit(self, images: Callable[[], Iterable[Mapping[str, Tensor]]], max_latent_size: tuple[int, int]) -> None:
        """Make the tables, as a bundle has them, from the features (1, C, h, w) by name of images.

        images: begins anew at each call, of which there are two: contexts are told apart by what the channels say
        alone. Latents are at most (H, W).
        """
        statistics = LatentStatistics(self._gains)
        for features in images():
            statistics.add(self._projection(features))
        in_context = ContextStatistics(self._gains, statistics.entropy_model())
        for features in images():
            in_context.add(self._projection(features))
        model, inverse_gains = in_context.entropy_model(), statistics.inverse_gains()[0, :, :, None, None]
        self._variants = [self._variant(rank, model, inverse_gains, max_latent_size) for rank in self.ranks]

    @torch.inference_mode()
    def symbols(self, features: Mapping[str, Tensor]) -> list[Symbols]:
        """Return features (1, C, h, w) by name as symbols (L, H, W) of the highest rank, for each step."""
        latent = self._projection(features)[0]
        return [quantised(latent, gain).to(torch.int16).numpy() for gain in self._gains[0]]

    def _variant(
        self, rank: Rank, model: EntropyModel, inverse_gains: Tensor, max_latent_size: tuple[int, int]
    ) -> _Variant:
        patches = {n: replace(p, components=rank.components[n]) for n, p in self._patches.items()}
        kept = _kept(patches, self._patches)
        index = np.ascontiguousarray(model.table_index[:, :, kept])
        own = EntropyModel(model.quantized_cdf, model.cdf_start, model.offset, index)
        back = BackProjection(patches).eval()
        fill_back_projection(back, self._bases, patches)
        codec = FeatureCodec(own, _DIGEST, (kept.size, *max_latent_size))
        return _Variant(kept, codec, back, inverse_gains[:, kept])

    def latent_channels(self, rank: int) -> int:
        """Return the channels of a rank's latent."""
        return int(self._variants[rank].kept.size)

    def compress(self, symbols: Sequence[Symbols], rank: int, step: int) -> bytes:
        """Return what `symbols` gave as the bitstream of a rank and a step."""
        variant = self._variants[rank]
        return variant.codec.compress(np.ascontiguousarray(symbols[step][variant.kept]), 1, step)

    @torch.inference_mode()
    def decompress(self, bitstream: bytes, rank: int, cells: int) -> dict[str, Tensor]:
        """Return the features of a whole square of cells x cells latent positions, by name."""
        variant = self._variants[rank]
        header, symbols = variant.codec.decompress(bitstream)
        latent = torch.zeros(1, symbols.shape[0], cells, cells)
        values = torch.from_numpy(symbols) * variant.inverse_gains[header.quality]
        latent[0, :, : symbols.shape[1], : symbols.shape[2]] = values
        features: dict[str, Tensor] = variant.back(latent)
        return features


@dataclass(frozen=True, eq=False)
class _Variant:
    """One rank."""

    kept: NDArray[np.int64]  # its channels among those of the highest rank
    codec: FeatureCodec
    back: BackProjection
    inverse_gains: Tensor  # (steps, L, 1, 1)


def _kept(patches: Mapping[str, Patch], of: Mapping[str, Patch]) -> NDArray[np.int64]:
    kept, first = [], 0
    for name, patch in patches.items():
        present = of[name].latent_channels - 1
        kept.append(first + np.append(np.arange(patch.latent_channels - 1), present))
        first += present + 1
    return np.concatenate(kept)
