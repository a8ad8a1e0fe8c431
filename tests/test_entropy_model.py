import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec.entropy_model import PRECISION_BITS, TOTAL, EntropyModel
from splitnet.errors import BundleError, ConfigError
from tests.golden_bitstreams import golden_model, golden_symbols


def histograms(symbols: np.ndarray, radius: int) -> np.ndarray:
    """Count symbols (C, n) into (1, 1, C, 2R+1)."""
    rows = [np.bincount(row + radius, minlength=2 * radius + 1) for row in symbols]
    return np.array(rows, np.int64)[None, None]


def laplacian(scale: float, count: int, seed: int = 0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).laplace(0, scale, count)).astype(np.int64)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.int64,
        st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.sampled_from([3, 9, 41])),
        elements=st.one_of(st.just(0), st.integers(0, 50), st.integers(0, 10**12)),
    )
)
def test_any_histogram_gives_valid_tables_that_survive_storage(counts):
    model = EntropyModel.fit(counts)
    again = EntropyModel.from_arrays(model.to_arrays())
    assert again.digest() == model.digest()
    assert (model.widths, model.qualities, model.channels) == counts.shape[:3]
    for table in range(model.offset.size):
        cdf = model.quantized_cdf[model.cdf_start[table] : model.cdf_start[table + 1]].astype(int)
        assert cdf[0] == 0 and cdf[-1] == TOTAL
        assert (np.diff(cdf) >= 1).all()


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.5, 6.0, 20.0])
def test_fitted_tables_are_close_to_the_entropy_of_unseen_data(scale):
    model = EntropyModel.fit(histograms(laplacian(scale, 200_000)[None].clip(-128, 128), 128))
    unseen = laplacian(scale, 200_000, seed=1).astype(np.int16)
    share = np.bincount(unseen + 500) / unseen.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert model.bits(unseen.reshape(1, 1, -1), 1, 0) / unseen.size < entropy * 1.005 + 0.001


def test_a_channel_that_is_always_zero_costs_next_to_nothing():
    counts = np.zeros((1, 1, 1, 65), np.int64)
    counts[..., 32] = 10**6
    model = EntropyModel.fit(counts)
    assert model.bits(np.zeros((1, 20, 20), np.int16), 1, 0) / 400 < 1e-4
    assert model.quantized_cdf.tolist() == [0, TOTAL - 1, TOTAL]


def test_rare_outliers_do_not_stretch_a_table():
    symbols = laplacian(1.0, 1_000_000)
    symbols[:4] = [-128, 128, 100, -77]
    model = EntropyModel.fit(histograms(symbols[None], 128))
    assert model.quantized_cdf.size < 35


def test_a_frequent_outlier_is_kept():
    symbols = laplacian(0.5, 100_000)
    symbols[:20_000] = 100
    model = EntropyModel.fit(histograms(symbols[None], 128))
    assert not model.escaped(np.full((1, 1, 1), 100, np.int16), 1, 0).any()


def test_an_off_centre_distribution_is_followed():
    symbols = laplacian(0.5, 50_000) + 40
    model = EntropyModel.fit(histograms(symbols[None], 64))
    assert model.offset[0] > 20
    assert model.bits(np.full((1, 1, 100), 40, np.int16), 1, 0) < 100


def test_without_data_every_small_symbol_is_still_affordable():
    model = EntropyModel.fit(np.zeros((1, 1, 1, 65), np.int64))
    for symbol in range(-6, 7):
        assert model.bits(np.full((1, 1, 1), symbol, np.int16), 1, 0) < 16


def test_identical_channels_share_one_table():
    counts = np.tile(histograms(laplacian(1.0, 1000)[None], 20), (3, 2, 5, 1))
    model = EntropyModel.fit(counts)
    assert model.offset.size == 1
    assert not model.table_index.any()


def test_indexes_follow_channel_width_and_quality():
    model = golden_model()
    indexes = model.indexes(2, 1, (4, 2, 3))
    assert indexes.dtype == np.uint16
    assert indexes.tolist() == np.repeat(model.table_index[1, 1], 6).tolist()


def test_indexes_of_fewer_channels_are_the_leading_ones():
    model = golden_model()
    assert model.indexes(1, 0, (2, 1, 1)).tolist() == model.table_index[0, 0, :2].tolist()


@pytest.mark.parametrize(("width", "quality"), [(0, 0), (3, 0), (1, 2), (1, -1)])
def test_an_unknown_operating_point_is_refused(width, quality):
    with pytest.raises(ConfigError, match=r"choose a width of 1\.\.2"):
        golden_model().indexes(width, quality, (4, 1, 1))


def test_too_many_channels_are_refused():
    with pytest.raises(ConfigError, match="4 latent channels"):
        golden_model().indexes(1, 0, (5, 1, 1))


def test_bits_add_up_frequencies_and_escapes():
    model = golden_model()
    inside = np.zeros((1, 1, 1), np.int16)  # table 0: frequency TOTAL - 1
    outside = np.full((1, 1, 1), -3, np.int16)  # the third value below the table: magnitude 5, 6 = 0b110
    assert model.bits(inside, 1, 0) == pytest.approx(PRECISION_BITS - np.log2(TOTAL - 1))
    assert model.bits(outside, 1, 0) == PRECISION_BITS + 5 + 2
    assert model.escaped(np.concatenate([inside, outside], axis=2), 1, 0).tolist() == [False, True]


def test_bits_of_extremes_are_finite():
    assert 0 < golden_model().bits(golden_symbols(), 2, 1) < 10_000


def test_the_digest_changes_with_any_array():
    model = golden_model()
    for name, array in model.to_arrays().items():
        if name in ("offset", "table_index"):
            changed = dict(model.to_arrays())
            changed[name] = array.copy()
            changed[name].flat[0] += 1
            assert EntropyModel.from_arrays(changed).digest() != model.digest()
    assert len(model.digest()) == 8


def damage(name, value):
    arrays = {key: array.copy() for key, array in golden_model().to_arrays().items()}
    arrays[name] = value(arrays[name])
    return arrays


def put(position, value):
    def change(array):
        array.flat[position] = value
        return array

    return change


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quantized_cdf", lambda a: a.astype(np.int64)),
        ("quantized_cdf", lambda a: a[:-1]),
        ("quantized_cdf", lambda a: a[:0]),
        ("quantized_cdf", lambda a: a.reshape(1, -1)),
        ("quantized_cdf", put(0, 1)),
        ("quantized_cdf", put(1, 0)),
        ("quantized_cdf", put(1, TOTAL)),
        ("quantized_cdf", put(-1, TOTAL - 1)),
        ("cdf_start", put(0, 1)),
        ("cdf_start", put(1, -5)),
        ("cdf_start", put(2, 10**6)),
        ("cdf_start", lambda a: a[:-1]),
        ("cdf_start", lambda a: np.append(a, a[-1]).astype(np.int32)),
        ("offset", put(0, 40_000)),
        ("offset", put(0, -40_000)),
        ("offset", put(0, 2**31 - 1)),
        ("offset", lambda a: a[:-1]),
        ("table_index", put(0, 5)),
        ("table_index", lambda a: a[0]),
    ],
)
def test_damaged_tables_are_refused(name, value):
    with pytest.raises(BundleError, match="damaged"):
        EntropyModel.from_arrays(damage(name, value))


def test_a_missing_table_is_named():
    arrays = golden_model().to_arrays()
    del arrays["offset"]
    with pytest.raises(BundleError, match="'offset'"):
        EntropyModel.from_arrays(arrays)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 1, 4), (1, 1, 1, 1), (1, 1, 1, 9999)])
def test_histograms_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"2R\+1"):
        EntropyModel.fit(np.zeros(shape, np.int64))
