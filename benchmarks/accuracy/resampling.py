"""What systems come to under resamples of the images (`benchmarks.harness.bootstrap`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.bootstrap import Floats
from training.evaluation.matches import Matches
from training.evaluation.measure import Tally


@dataclass(frozen=True, eq=False)
class Sample:
    """What one system came to, in each resample: (1 + resamples,). The first value is the one that was measured."""

    ap: Floats  # percent
    ap50: Floats
    bytes_mean: Floats

    @classmethod
    def of(cls, matches: Matches, tally: Tally, counts: NDArray[np.int64]) -> Sample:
        """Return the figures of a system under every resample."""
        precision = matches.average_precision(counts)
        sizes = counts @ np.array(tally.sizes, np.float64) / counts.shape[1]
        return cls(precision.mean(axis=1), precision[:, 0], sizes)
