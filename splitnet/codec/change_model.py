"""Integer tables of changes against a reference, fitted once on video and shipped with the weights.

As in `splitnet.codec.entropy_model` there are rows of cumulative frequencies with an escape, and indexes that say which
row a context uses. They are kept for each quality; widths share them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS
from splitnet.codec.entropy_model import TOTAL, check_tables, joined
from splitnet.codec.table_fit import fit_table, grouped
from splitnet.errors import BundleError

MAX_SHARED_TABLES = 384  # of all changes together
PRIOR_WEIGHT = 20.0  # changes that what all channels do in a context is worth for a single one
_UNSEEN = 0.05  # of an imagined change by one, either way, in a context that was never seen


@dataclass(frozen=True, eq=False)
class ChangeModel:
    """Tables of flags and changes, as `EntropyModel` has them of symbols. BundleError if the arrays are none."""

    quantized_cdf: NDArray[np.uint16]  # (total,)
    cdf_start: NDArray[np.int32]  # (tables + 1,)
    offset: NDArray[np.int32]  # (tables,)
    flag_index: NDArray[np.uint16]  # (qualities, FLAG_CONTEXTS)
    change_index: NDArray[np.uint16]  # (qualities, channels, CHANGE_CONTEXTS)

    def __post_init__(self) -> None:
        """Check every array, since they come from files."""
        for name, (dtype, dimensions) in _ARRAYS.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != dimensions or array.size == 0:
                raise BundleError(f"change table {name} has the wrong type or shape: the bundle is damaged")
        indexes = (self.flag_index.shape[1:], self.change_index.shape[2:], len(self.flag_index))
        fits = indexes == ((FLAG_CONTEXTS,), (CHANGE_CONTEXTS,), len(self.change_index))
        largest = max(int(self.flag_index.max()), int(self.change_index.max()))
        if not fits or self.cdf_start.size != self.offset.size + 1 or largest >= self.offset.size:
            raise BundleError("the change tables contradict one another: the bundle is damaged")
        check_tables(self.quantized_cdf, self.cdf_start, self.offset)

    @classmethod
    def fit(cls, flags: NDArray[np.integer[Any]], changes: NDArray[np.integer[Any]]) -> ChangeModel:
        """Make tables from counts: flags (qualities, FLAG_CONTEXTS, 2), changes (qualities, C, CHANGE_CONTEXTS, 2R+1).

        A channel that was hardly seen in a context changes there as all channels do; similar tables are shared.
        """
        smooth = _smoothed(changes)
        groups = grouped(smooth.reshape(-1, smooth.shape[-1]), MAX_SHARED_TABLES)
        used, groups = np.unique(groups, return_inverse=True)
        flat = smooth.reshape(-1, smooth.shape[-1])
        rows = [fit_table(flat[groups == group].sum(axis=0, dtype=np.float64), TOTAL) for group in range(used.size)]
        rows += [fit_table(np.array([0, *pair]), TOTAL) for pair in flags.reshape(-1, 2)]
        flag_index = used.size + np.arange(flags.shape[0] * flags.shape[1]).reshape(flags.shape[:2])
        change_index = groups.reshape(changes.shape[:3])
        return cls(*joined(rows), flag_index.astype(np.uint16), change_index.astype(np.uint16))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ChangeModel:
        """Read a model from the arrays of a bundle; raise BundleError if they do not form one."""
        try:
            return cls(**{name: np.ascontiguousarray(arrays[name]) for name in _ARRAYS})
        except KeyError as missing:
            raise BundleError(f"the bundle lacks the change table {missing}; fetch it again") from None

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays to store, by name."""
        return {name: getattr(self, name) for name in _ARRAYS}

    @property
    def qualities(self) -> int:
        """The number of qualities; they count from 0."""
        return len(self.flag_index)

    @property
    def channels(self) -> int:
        """The number of channels of the latent."""
        return int(self.change_index.shape[1])


_ARRAYS = {
    "quantized_cdf": (np.dtype(np.uint16), 1),
    "cdf_start": (np.dtype(np.int32), 1),
    "offset": (np.dtype(np.int32), 1),
    "flag_index": (np.dtype(np.uint16), 2),
    "change_index": (np.dtype(np.uint16), 3),
}


def _smoothed(changes: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Return counts with what all channels do in a context added, PRIOR_WEIGHT changes' worth."""
    middle = changes.shape[-1] // 2
    all_channels = changes.sum(axis=1, keepdims=True).astype(np.float64)
    all_channels[..., middle - 1 : middle + 2] += (_UNSEEN, 1.0, _UNSEEN)
    return np.asarray(changes + PRIOR_WEIGHT * all_channels / all_channels.sum(axis=-1, keepdims=True), np.float32)
