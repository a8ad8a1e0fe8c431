import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec.contexts import CONTEXTS, NEIGHBOURHOODS, contexts
from splitnet.codec.entropy_model import MAX_SHARED_TABLES, PRECISION_BITS, TOTAL, EntropyModel
from splitnet.errors import BundleError, ConfigError
from tests.support.golden_bitstreams import golden_model, golden_symbols


def histograms(symbols: np.ndarray, radius: int) -> np.ndarray:
    """Count symbols (C, n) into (1, 1, C, 2R+1)."""
    rows = [np.bincount(row + radius, minlength=2 * radius + 1) for row in symbols]
    return np.array(rows, np.int64)[None, None]


def laplacian(scale: float, count: int, seed: int = 0) -> np.ndarray:
    return np.rint(np.random.default_rng(seed).laplace(0, scale, count)).astype(np.int64)


@settings(max_examples=100)
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


def test_tables_follow_channel_width_and_quality():
    model = golden_model()
    indexes = model.choice(2, 1, 4).indexes(np.zeros((4, 2, 3), np.int16))
    assert indexes.dtype == np.uint16
    assert indexes.tolist() == np.repeat(model.table_index[1, 1, :, 0], 6).tolist()


def test_tables_of_fewer_channels_are_the_leading_ones():
    model = golden_model()
    assert model.choice(1, 0, 2).rows.tolist() == model.table_index[0, 0, :2].tolist()


def test_the_likeliest_symbol_is_that_of_the_channels_own_table():
    counts = np.zeros((1, 2, 3, 9), np.int64)
    counts[0, 0, [0, 1, 2], [4, 7, 1]] = 1000
    counts[0, 1, :, 5] = 1000
    model = EntropyModel.fit(counts)
    assert model.likeliest.tolist() == [[[0, 3, -3], [1, 1, 1]]]
    assert model.with_contexts(np.zeros((1, 2, 3, 9, 9), np.int64)).likeliest.tolist() == model.likeliest.tolist()


def correlated(seed: int) -> np.ndarray:
    """Return symbols (3, 60, 60): one channel smooth, one of random signs in patches, one independent."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3, 63, 63))
    smooth = sum(noise[:, i : i + 60, j : j + 60] for i in range(4) for j in range(4)) / 2
    return np.rint(np.stack([smooth[0], 2 * noise[1, :60, :60] * (smooth[1] > 0), noise[2, :60, :60]])).astype(np.int16)


def context_histograms(symbols: np.ndarray, centre: np.ndarray, radius: int) -> np.ndarray:
    """Count symbols (C, H, W) into (1, 1, C, NEIGHBOURHOODS, 2R+1)."""
    counts = np.zeros((1, 1, len(symbols), NEIGHBOURHOODS, 2 * radius + 1), np.int64)
    channel = np.broadcast_to(np.arange(len(symbols))[:, None, None], symbols.shape)
    np.add.at(counts[0, 0], (channel, contexts(symbols, centre).astype(int) - 1, symbols + radius), 1)
    return counts


@pytest.mark.parametrize(("channel", "most"), [(0, 0.85), (1, 0.95), (2, 1.02)])
def test_contexts_save_bits_where_neighbours_tell_something_and_cost_none_where_they_do_not(channel, most):
    seen, unseen = (correlated(seed)[channel : channel + 1] for seed in (0, 1))
    alone = EntropyModel.fit(histograms(seen.reshape(1, -1), 20))
    model = alone.with_contexts(context_histograms(seen, alone.likeliest[0, 0], 20))
    assert (alone.contexts, model.contexts) == (1, CONTEXTS)
    assert model.bits(unseen, 1, 0) < most * alone.bits(unseen, 1, 0)


def test_a_context_that_was_never_seen_is_coded_as_its_channel_is():
    alone = EntropyModel.fit(histograms(laplacian(2.0, 10_000)[None].clip(-20, 20), 20))
    model = alone.with_contexts(np.zeros((1, 1, 1, NEIGHBOURHOODS, 41), np.int64))
    symbols = laplacian(2.0, 2500, seed=1).astype(np.int16).reshape(1, 50, 50)
    assert model.bits(symbols, 1, 0) == alone.bits(symbols, 1, 0)


def test_however_many_contexts_there_are_their_tables_are_few():
    scales = np.linspace(0.3, 4.0, 200)
    rows = np.stack([histograms(laplacian(scale, 500)[None].clip(-20, 20), 20)[0, 0, 0] for scale in scales])
    alone = EntropyModel.fit(rows[None, None])
    counts = np.broadcast_to(rows[None, None, :, None], (1, 1, 200, NEIGHBOURHOODS, 41)).copy()
    counts *= np.arange(1, NEIGHBOURHOODS + 1)[:, None]
    model = alone.with_contexts(counts)
    assert alone.offset.size < model.offset.size <= alone.offset.size + MAX_SHARED_TABLES
    assert EntropyModel.from_arrays(model.to_arrays()).digest() == model.digest()


@pytest.mark.parametrize("shape", [(1, 1, 1, 9), (1, 1, 2, NEIGHBOURHOODS, 9), (1, 1, 1, NEIGHBOURHOODS - 1, 9)])
def test_histograms_of_other_contexts_are_refused(shape):
    alone = EntropyModel.fit(np.zeros((1, 1, 1, 9), np.int64))
    with pytest.raises(ValueError, match="of a plain model"):
        alone.with_contexts(np.zeros(shape, np.int64))


def test_tables_of_a_bundle_without_contexts_are_one_context():
    arrays = golden_model().to_arrays()
    arrays["table_index"] = arrays["table_index"][..., 0]
    assert EntropyModel.from_arrays(arrays).digest() == golden_model().digest()


@pytest.mark.parametrize(("width", "quality"), [(0, 0), (3, 0), (1, 2), (1, -1)])
def test_an_unknown_operating_point_is_refused(width, quality):
    with pytest.raises(ConfigError, match=r"choose a width of 1\.\.2"):
        golden_model().choice(width, quality, 4)


def test_too_many_channels_are_refused():
    with pytest.raises(ConfigError, match="4 latent channels"):
        golden_model().choice(1, 0, 5)


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
        ("table_index", lambda a: a[0, 0]),
        ("table_index", lambda a: np.repeat(a, CONTEXTS - 1, axis=3)),
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
