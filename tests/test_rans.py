import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitnet.codec import rans, rans_reference
from splitnet.codec.entropy_model import SYMBOL_MAX, SYMBOL_MIN, TOTAL, EntropyModel
from splitnet.errors import BitstreamError
from tests.golden_bitstreams import golden_model, golden_symbols


@st.composite
def models(draw):
    """Draw one to four tables, from almost certain to flat, with offsets all over int16."""
    cdfs, offsets = [], []
    for _ in range(draw(st.integers(1, 4))):
        entries = draw(st.integers(2, 40))
        weights = np.array(draw(st.lists(st.integers(0, 10**6), min_size=entries, max_size=entries)), float)
        frequencies = 1 + np.floor((TOTAL - entries) * weights / max(weights.sum(), 1)).astype(np.int64)
        frequencies[draw(st.integers(0, entries - 1))] += TOTAL - frequencies.sum()
        cdfs.append(np.concatenate(([0], np.cumsum(frequencies))))
        anywhere = st.integers(SYMBOL_MIN, SYMBOL_MAX - entries + 2)
        offsets.append(draw(st.one_of(st.integers(-20, 5), anywhere)))
    start = np.cumsum([0] + [cdf.size for cdf in cdfs])
    return EntropyModel(
        np.concatenate(cdfs).astype(np.uint16),
        start.astype(np.int32),
        np.array(offsets, np.int32),
        np.arange(len(cdfs), dtype=np.uint16).reshape(1, 1, -1),
    )


@st.composite
def messages(draw):
    """Draw a model, and symbols with the tables they are to be coded under."""
    model = draw(models())
    table = st.integers(0, model.offset.size - 1)
    value = st.one_of(
        st.integers(-30, 30), st.integers(SYMBOL_MIN, SYMBOL_MAX), st.sampled_from([SYMBOL_MIN, SYMBOL_MAX])
    )
    pairs = draw(st.lists(st.tuples(value, table), max_size=80))
    symbols = np.array([symbol for symbol, _ in pairs], np.int16)
    return model, symbols, np.array([index for _, index in pairs], np.uint16)


@settings(max_examples=300, deadline=None)
@given(messages())
def test_compiled_and_plain_coder_agree_and_round_trip(message):
    model, symbols, indexes = message
    tables = rans.Tables.build(model)
    payload = rans.encode(symbols, indexes, tables)
    assert payload == rans_reference.encode(symbols, indexes, model)
    assert rans.decode(payload, indexes, tables).tolist() == symbols.tolist()
    assert rans_reference.decode(payload, indexes, model).tolist() == symbols.tolist()


@settings(max_examples=300, deadline=None)
@given(models(), st.binary(max_size=60), st.integers(0, 100))
def test_compiled_and_plain_decoder_judge_random_bytes_alike(model, payload, count):
    indexes = (np.arange(count) % model.offset.size).astype(np.uint16)
    outcomes = []
    for decode in (
        lambda: rans.decode(payload, indexes, rans.Tables.build(model)),
        lambda: rans_reference.decode(payload, indexes, model),
    ):
        try:
            outcomes.append(decode().tolist())
        except BitstreamError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, TOTAL - 2), st.lists(st.integers(1, 2**16), max_size=50))
def test_the_reciprocal_divides_exactly_at_every_frequency(frequency, quotients):
    cdf = np.array([0, frequency, TOTAL - 1, TOTAL], np.uint16)
    model = EntropyModel(cdf, np.array([0, 4], np.int32), np.zeros(1, np.int32), np.zeros((1, 1, 1), np.uint16))
    reciprocal = int(rans.Tables.build(model).reciprocal[0])
    for quotient in [1, 2**16, *quotients]:  # the encoder's state is below frequency * 2**16
        largest, smallest = quotient * frequency - 1, (quotient - 1) * frequency
        assert largest * reciprocal < 2**63
        assert (largest * reciprocal) >> 46 == (smallest * reciprocal) >> 46 == quotient - 1


def test_payload_is_within_a_percent_of_the_ideal_code_length():
    rng = np.random.default_rng(0)
    scale = np.linspace(0.02, 3, 48)[:, None]
    seen = np.rint(rng.laplace(0, scale, (48, 5000))).astype(int).clip(-64, 64)
    counts = [np.bincount(row + 64, minlength=129) for row in seen]
    model = EntropyModel.fit(np.array(counts)[None, None])
    symbols = np.rint(rng.laplace(0, scale, (48, 400))).astype(np.int16).reshape(48, 20, 20)
    payload = rans.encode(symbols.ravel(), model.indexes(1, 0, symbols.shape), rans.Tables.build(model))
    assert len(payload) <= 1.001 * model.bits(symbols, 1, 0) / 8 + 4


def test_a_silent_latent_takes_four_bytes():
    model, indexes = golden_model(), np.zeros(19_200, np.uint16)
    tables = rans.Tables.build(model)
    assert len(rans.encode(np.zeros(19_200, np.int16), indexes, tables)) == 4


def test_escapes_everywhere_stay_within_the_buffer():
    tables = rans.Tables.build(golden_model())
    for extreme in (SYMBOL_MIN, SYMBOL_MAX):
        symbols, indexes = np.full(5000, extreme, np.int16), np.zeros(5000, np.uint16)
        payload = rans.encode(symbols, indexes, tables)
        assert len(payload) < 5000 * rans.BYTES_PER_SYMBOL_MAX
        assert (rans.decode(payload, indexes, tables) == extreme).all()


def test_arrays_of_any_layout_can_be_encoded():
    model, tables = golden_model(), rans.Tables.build(golden_model())
    symbols, indexes = golden_symbols().ravel(), golden_model().indexes(2, 1, (4, 5, 7))
    expected = rans_reference.encode(symbols, indexes, model)
    frozen = symbols.copy()
    frozen.flags.writeable = False
    assert rans.encode(frozen, indexes, tables) == expected
    assert rans.encode(np.repeat(symbols, 2)[::2], indexes, tables) == expected


def test_a_wrong_table_index_never_reaches_the_loop():
    tables = rans.Tables.build(golden_model())
    with pytest.raises(ValueError, match="below 5"):
        rans.encode(np.zeros(1, np.int16), np.full(1, 5, np.uint16), tables)
    with pytest.raises(ValueError, match="below 5"):
        rans.decode(bytes(8), np.full(1, 5, np.uint16), tables)
    with pytest.raises(ValueError, match="as many table indexes"):
        rans.encode(np.zeros(2, np.int16), np.zeros(1, np.uint16), tables)


@pytest.mark.parametrize("decoder", ["compiled", "plain"])
def test_an_escape_beyond_int16_is_refused(decoder):
    model = golden_model()
    writer = rans_reference._Writer()
    writer.push(0xFFFF, 1, 16)
    writer.push(16, 1, 5)
    writer.push(TOTAL - 1, 1, 15)
    payload, indexes = writer.finish(), np.zeros(1, np.uint16)
    with pytest.raises(BitstreamError, match="beyond int16"):
        if decoder == "compiled":
            rans.decode(payload, indexes, rans.Tables.build(model))
        else:
            rans_reference.decode(payload, indexes, model)


def test_extra_bytes_are_refused():
    tables, indexes = rans.Tables.build(golden_model()), golden_model().indexes(2, 1, (4, 5, 7))
    payload = rans.encode(golden_symbols().ravel(), indexes, tables)
    with pytest.raises(BitstreamError, match="does not end"):
        rans.decode(payload + b"\0", indexes, tables)


def test_a_function_without_a_cache_folder_is_still_compiled():
    namespace = {}
    # A function without a file: numba finds no place for its cache.
    exec("def double(value):\n    return 2 * value", namespace)
    assert rans._compiled(namespace["double"])(21) == 42


def test_importing_compiles_nothing():
    code = "from splitnet.codec import feature_codec, rans; print(len(rans._encode.overloads))"
    project = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
