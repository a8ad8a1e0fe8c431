"""A latent in layers: coarse first, then finer, channel by channel. Each layer is of use with those before it.

The first layer holds the symbols in coarser steps: of each channel the odd multiple that comes closest to the steps of
a lower quality, the *base*. So channels that matter are coarse by little. The other layers say which of the symbols in
a step each one is (`layer_coder`), channels that matter first. What has not come is taken at its expected value. All
layers together hold exactly what the whole bitstream holds.

A bitstream in layers is these one after the other, and may end after any of them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitnet.codec import rans
from splitnet.codec.bitstream import MAX_LAYERS, Limits
from splitnet.codec.contexts import ALONE, TableChoice
from splitnet.codec.entropy_model import SYMBOL_MAX, EntropyModel
from splitnet.codec.layer_coder import MAX_STEP, Steps, coarse_of, decode_fine, encode_fine, warm_up
from splitnet.errors import BitstreamError, ConfigError

MAGIC, FINE_MAGIC = b"SY", b"SF"
VERSION = 1
LAYERS = 3  # that a frame is sent in: one coarse, two fine
GROWTH = 1.5  # of fine layers: what matters less may come in larger pieces; so half of all bytes is two of three layers
COARSE_STEP = 2.7  # of the base, in those of the quality: with steps of 2, the tables of neither fit
SMALLEST_SHARE = 1.0  # of 2**PRECISION_BITS: of a symbol that a table does not have
# Little-endian: magic, version, layers, digest, width, quality, base, quality whose tables code the coarse symbols,
# channels, latent height, latent width, payload bytes.
_COARSE = struct.Struct("<2sBB8sBBBBHHHI")
_FINE = struct.Struct(
    "<2sBHHI"
)  # magic, layer from 1, channels that are fine after it, check of the coarse layer, payload bytes


class LayeredLatent(NamedTuple):
    """What a bitstream in layers held."""

    width: int
    quality: int
    symbols: NDArray[np.int16]  # (C, H, W); those of missing layers at their expected values
    used: int  # layers that were there
    layers: int  # that there are


class _Opening(NamedTuple):
    """The header of the coarse layer."""

    layers: int
    width: int
    quality: int
    base: int
    tables_of: int
    shape: tuple[int, int, int]
    payload_bytes: int


def is_layered(bitstream: bytes) -> bool:
    """Return whether a bitstream is one in layers, by its first bytes."""
    return bitstream[: len(MAGIC)] == MAGIC


class LayeredCodec:
    """Codes latents of one bundle in layers. Holds no state between calls: any thread may use it."""

    def __init__(self, model: EntropyModel, gains: NDArray[np.float32], limits: Limits, tables: rans.Tables) -> None:
        """Take the tables, also as the coder's loops read them, gains (widths, qualities, C) and the largest latent."""
        self._model = model
        self._gains = gains.astype(np.float64)
        self._limits = limits
        self._tables = tables

    def compress(self, symbols: NDArray[np.int16], width: int, quality: int, layers: int = LAYERS) -> tuple[bytes, ...]:
        """Return the layers of symbols (C, H, W) int16, at most so many; one that stands alone at the lowest quality.

        Raise ConfigError if the bundle has no such width, quality or shape.
        """
        if not 2 <= layers <= MAX_LAYERS:
            raise ConfigError(f"a frame has 2 to {MAX_LAYERS} layers, not {layers}")
        _check_shape(symbols.shape, self._limits, ConfigError)
        choice = self._model.choice(width, quality, len(symbols))
        base, tables_of = self._plan(width, quality)
        steps = self._steps(width, quality, base)[: len(symbols)]
        coarse = coarse_of(symbols, steps)
        payload = rans.encode(coarse, self._coarse_choice(width, quality, tables_of, steps), self._tables)
        order = self._order(width, quality, base, len(symbols))
        ends = self._ends(width, quality, base, len(symbols), layers - 1)
        head = (MAGIC, VERSION, 1 + len(ends), self._limits.digest, width, quality, base, tables_of, *symbols.shape)
        check = _check_of(coarse)
        made = [_COARSE.pack(*head, len(payload)) + payload]
        begin = 0
        for index, end in enumerate(ends, start=1):
            own = order[begin:end]
            payload = encode_fine(symbols[own], steps[own], _of_channels(choice, own), self._tables)
            made.append(_FINE.pack(FINE_MAGIC, index, end, check, len(payload)) + payload)
            begin = end
        return tuple(made)

    def decompress(self, bitstream: bytes) -> LayeredLatent:
        """Return what the layers in a bitstream hold. Raise BitstreamError unless they are the first of a frame."""
        opening = self._opening(bitstream)
        end = _COARSE.size + opening.payload_bytes
        channels, height, columns = opening.shape
        steps = self._steps(opening.width, opening.quality, opening.base)[:channels]
        tables = self._coarse_choice(opening.width, opening.quality, opening.tables_of, steps)
        coarse = rans.decode(bitstream[_COARSE.size : end], tables, (height, columns), self._tables)
        symbols = self._expected(coarse, steps, opening)
        choice = self._model.choice(opening.width, opening.quality, channels)
        order = self._order(opening.width, opening.quality, opening.base, channels)
        used, done = 1, 0
        for index, after, payload in _fine_layers(bitstream[end:], _check_of(coarse)):
            if index != used or index >= opening.layers or not done < after <= channels:
                raise BitstreamError(f"layer {index} does not follow layer {used - 1}: the bitstream is damaged")
            own = order[done:after]
            symbols[own] = decode_fine(payload, coarse[own], steps[own], _of_channels(choice, own), self._tables)
            used, done = used + 1, after
        if used == opening.layers and used > 1 and done != channels:
            raise BitstreamError(f"the layers hold {done} channels of {channels}: the bitstream is damaged")
        return LayeredLatent(opening.width, opening.quality, symbols, used, opening.layers)

    def is_of_use(self, width: int, quality: int) -> bool:
        """Return whether a frame at an operating point has more than one layer."""
        return self._plan(width, quality)[0] < quality

    def warm_up(self) -> None:
        """Compile the loops, or load them from numba's cache."""
        warm_up(self._tables)

    def _opening(self, bitstream: bytes) -> _Opening:
        if len(bitstream) < _COARSE.size:
            raise BitstreamError(f"a bitstream in layers has at least {_COARSE.size} bytes, not {len(bitstream)}")
        _, version, layers, digest, width, quality, base, tables_of, *shape, size = _COARSE.unpack_from(bitstream)
        limits = self._limits
        if version != VERSION:
            raise BitstreamError(f"layers of version {version} are unknown (this is {VERSION}): update the older end")
        if digest != limits.digest:
            raise BitstreamError(
                f"the bitstream was made with bundle {digest.hex()}, this end holds {limits.digest.hex()}: "
                "give both ends the same bundle"
            )
        if not (1 <= width <= limits.widths and max(quality, base, tables_of) < limits.qualities):
            raise BitstreamError(f"the bundle has no width {width}, quality {quality}, {base}, {tables_of}")
        if not 1 <= layers <= MAX_LAYERS:
            raise BitstreamError(f"a frame has 1 to {MAX_LAYERS} layers, not {layers}")
        _check_shape(shape, limits, BitstreamError)
        if size > len(bitstream) - _COARSE.size:
            raise BitstreamError(f"the coarse layer announces {size} bytes, but the bitstream ends before")
        return _Opening(layers, width, quality, base, tables_of, (shape[0], shape[1], shape[2]), size)

    @lru_cache(maxsize=256)  # noqa: B019 - a codec lives as long as its bundle
    def _steps(self, width: int, quality: int, base: int) -> Steps:
        """Return the symbols of a quality in a coarse one of each channel (C,): odd, as close as may be to the base's.

        A single division of stored numbers, rounded: the same on every machine.
        """
        gains = self._gains[width - 1]
        ratio = np.divide(gains[quality], gains[base], out=np.ones_like(gains[base]), where=gains[base] > 0)
        return np.asarray(np.clip(2 * np.rint((ratio - 1) / 2) + 1, 1, MAX_STEP), np.int16)

    @lru_cache(maxsize=256)  # noqa: B019
    def _plan(self, width: int, quality: int) -> tuple[int, int]:
        """Return the base of a quality, and the quality whose tables code the coarse symbols in the fewest bytes.

        The base is the highest quality with about three times the steps; the quality itself if there is none.
        """
        gains = self._gains[width - 1]
        bases = [q for q in range(quality) if np.median(gains[quality]) >= COARSE_STEP * np.median(gains[q])]
        base = max(bases, default=quality)
        costs = [self._coarse_cost(width, quality, base, q) for q in range(quality + 1)]
        return base, int(np.argmin(costs))

    def _coarse_choice(self, width: int, quality: int, tables_of: int, steps: Steps) -> TableChoice:
        """Return the tables of the coarse symbols: their own where a channel is not coarse at all."""
        fine, coarse = (self._model.choice(width, q, len(steps)) for q in (quality, tables_of))
        is_fine = steps == 1
        rows = np.where(is_fine[:, None], fine.rows, coarse.rows)
        return TableChoice(rows, np.where(is_fine, fine.centre, coarse.centre))

    @lru_cache(maxsize=256)  # noqa: B019
    def _order(self, width: int, quality: int, base: int, channels: int) -> NDArray[np.intp]:
        """Return the channels in the order in which they become fine: those first that the base makes coarse least.

        What a lower quality spares is what matters.
        """
        gains = self._gains[width - 1, :, :channels]
        ratio = np.divide(gains[quality], gains[base], out=np.ones(channels), where=gains[base] > 0)
        return np.argsort(ratio, kind="stable")

    def _coarse_cost(self, width: int, quality: int, base: int, tables_of: int) -> float:
        """Return the bits of a position's coarse symbols under the tables of a quality, by the channels' own tables."""
        steps = self._steps(width, quality, base)
        share, other = self._shares(width, quality), np.log2(self._shares(width, tables_of))
        coarse = np.array([_grouped(one, int(step)) for one, step in zip(share, steps, strict=True)])
        return float(-(coarse * other[:, _REACH - _KNOWN : _REACH + _KNOWN + 1])[steps > 1].sum())

    @lru_cache(maxsize=256)  # noqa: B019
    def _ends(self, width: int, quality: int, base: int, channels: int, layers: int) -> tuple[int, ...]:
        """Return how many channels are fine after each fine layer: after k of n, (k / n) ** GROWTH of their bytes."""
        share, steps = self._shares(width, quality), self._steps(width, quality, base)
        order = self._order(width, quality, base, channels)
        if (steps[:channels] == 1).all():
            return ()  # the coarse symbols are the fine ones
        bits = np.array([_fine_bits(_members(share[c], int(steps[c]))) for c in order]).cumsum()
        ends = np.searchsorted(bits, bits[-1] * (np.arange(1, layers) / layers) ** GROWTH) + 1
        return tuple(sorted({*np.minimum(ends, channels).tolist(), channels}))

    def _expected(self, coarse: NDArray[np.int16], steps: Steps, opening: _Opening) -> NDArray[np.int16]:
        """Return the mean of the fine symbols of each coarse one (C, H, W), rounded."""
        wide = coarse.astype(np.int32)
        if int(np.abs(wide).max(initial=0)) * MAX_STEP + MAX_STEP > SYMBOL_MAX:
            raise BitstreamError("the coarse layer holds symbols beyond all that latents have")
        means = self._means(opening.width, opening.quality, opening.base)[: len(coarse)]
        near = np.clip(wide, -_KNOWN, _KNOWN).reshape(len(coarse), -1) + _KNOWN
        off_centre = np.take_along_axis(means, near, axis=1).reshape(coarse.shape)
        return np.asarray(wide * steps[:, None, None] + off_centre, np.int16)

    @lru_cache(maxsize=256)  # noqa: B019
    def _means(self, width: int, quality: int, base: int) -> NDArray[np.int16]:
        """Return how far the mean of fine symbols is from the middle one, (C, 2 * _KNOWN + 1)."""
        pairs = zip(self._shares(width, quality), self._steps(width, quality, base), strict=True)
        return np.asarray(np.rint([_off_centre(share, int(step)) for share, step in pairs]), np.int16)

    @lru_cache(maxsize=256)  # noqa: B019
    def _shares(self, width: int, quality: int) -> NDArray[np.float64]:
        """Return how likely the channels' own tables make the symbols -_REACH.._REACH, (C, 2 * _REACH + 1)."""
        model = self._model
        share = np.full((model.channels, 2 * _REACH + 1), SMALLEST_SHARE)
        for channel, table in enumerate(model.table_index[width - 1, quality, :, ALONE]):
            row = model.quantized_cdf[model.cdf_start[table] : model.cdf_start[table + 1]].astype(np.int64)
            frequency, first = np.diff(row)[:-1], int(model.offset[table])
            inside = np.arange(max(first, -_REACH), min(first + len(frequency) - 1, _REACH) + 1)
            share[channel, inside + _REACH] = frequency[inside - first]
        return np.asarray(share / share.sum(axis=1, keepdims=True))


_KNOWN = 16  # coarse symbols up to here have an expected value of their own; beyond it is the middle one's
_REACH = _KNOWN * MAX_STEP + MAX_STEP // 2


def _members(share: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    """Return the shares of the fine symbols of each coarse one from -_KNOWN to _KNOWN, (2 * _KNOWN + 1, step)."""
    reach = _KNOWN * step + step // 2
    return np.asarray(share[_REACH - reach : _REACH + reach + 1].reshape(-1, step))


def _grouped(share: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    return np.asarray(_members(share, step).sum(axis=1))


def _off_centre(share: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    members = _members(share, step)
    return np.asarray(members @ (np.arange(step) - step // 2) / members.sum(axis=1))


def _fine_bits(members: NDArray[np.float64]) -> float:
    """Return what is left to say of a symbol once its coarse one is known, in bits."""
    return float(-(members * np.log2(members / members.sum(axis=1, keepdims=True))).sum())


def _of_channels(choice: TableChoice, own: NDArray[np.intp]) -> TableChoice:
    return TableChoice(choice.rows[own], choice.centre[own])


def _check_of(coarse: NDArray[np.int16]) -> int:
    """Return 16 bits that tie the fine layers to their coarse one (CRC-32, ISO 3309)."""
    return zlib.crc32(np.ascontiguousarray(coarse, "<i2").tobytes()) & 0xFFFF


def _check_shape(shape: Sequence[int], limits: Limits, error: type[BitstreamError | ConfigError]) -> None:
    bounds = (limits.channels, limits.latent_height, limits.latent_width)
    if not all(1 <= size <= bound for size, bound in zip(shape, bounds, strict=True)):
        raise error(f"a latent of shape {tuple(shape)} is outside of this bundle's 1..{bounds}")


def _fine_layers(rest: bytes, check: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield the index, the channel after the last, and the payload of every fine layer."""
    while rest:
        if len(rest) < _FINE.size or rest[: len(FINE_MAGIC)] != FINE_MAGIC:
            raise BitstreamError("what follows a layer is not the next one: the bitstream is damaged")
        _, index, channels, own_check, size = _FINE.unpack_from(rest)
        if own_check != check:
            raise BitstreamError(f"layer {index} belongs to another frame's coarse layer")
        if size > len(rest) - _FINE.size:
            raise BitstreamError(f"layer {index} announces {size} bytes, but the bitstream ends before")
        yield index, channels, rest[_FINE.size : _FINE.size + size]
        rest = rest[_FINE.size + size :]
