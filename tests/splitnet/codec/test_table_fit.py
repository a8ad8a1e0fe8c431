"""Histograms become tables, and those that are alike share one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec.table_fit import fit_table, grouped

TOTAL = 1 << 15


def geometric(spread: float, centre: int = 0) -> np.ndarray:
    """Return a histogram of -20..20 around a centre."""
    return np.asarray(1000 * np.exp(-np.abs(np.arange(-20, 21) - centre) / spread), np.float32)


def test_histograms_alike_share_a_group_and_others_do_not():
    kinds = [geometric(0.3), geometric(3.0), geometric(3.0, 8), geometric(3.0, -8)]
    counts = np.stack([kind * weight for weight in (1, 3, 0.1) for kind in kinds])
    groups = grouped(counts, 4)
    assert len(set(groups[:4].tolist())) == 4
    assert groups.tolist() == groups[:4].tolist() * 3


def test_as_many_groups_as_histograms_keep_each_apart():
    counts = np.stack([geometric(0.3 + 0.5 * i) for i in range(7)])
    assert sorted(grouped(counts, 50).tolist()) == list(range(7))


def cost(counts: np.ndarray, tables: np.ndarray) -> float:
    share = tables / tables.sum(axis=1, keepdims=True)
    return float(-(counts * np.log2(share)).sum())


def test_few_tables_code_many_histograms_nearly_as_well_as_their_own():
    counts = np.stack([geometric(0.3 * 1.02**i, i % 3) for i in range(150)])
    groups = grouped(counts, 30)
    shared = np.stack([counts[groups == group].sum(axis=0) for group in groups])
    assert cost(counts, shared) < 1.005 * cost(counts, counts)


@settings(max_examples=50)
@given(hnp.arrays(np.float32, (6, 9), elements=st.floats(0, 1e6, width=32)), st.integers(1, 8))
def test_any_histograms_are_grouped_below_the_limit(counts, limit):
    counts[:, 4] += 1
    groups = grouped(counts, limit)
    assert groups.shape == (6,) and groups.min() >= 0 and groups.max() < limit
    first, cdf = fit_table(counts[0], TOTAL)
    values = np.frombuffer(cdf, np.uint16).astype(int)
    assert -4 <= first <= 4
    assert values[0] == 0 and values[-1] == TOTAL and (np.diff(values) >= 1).all()
