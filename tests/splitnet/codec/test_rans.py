import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splitnet.codec import rans, rans_reference
from splitnet.codec.contexts import CONTEXTS, TableChoice
from splitnet.codec.entropy_model import SYMBOL_MAX, SYMBOL_MIN, TOTAL, EntropyModel
from splitnet.codec.plain_push import push_symbols
from splitnet.errors import BitstreamError
from tests.support.golden_bitstreams import golden_model, golden_symbols

FIRST_TABLES = TableChoice.alone(np.zeros(48, np.uint16))


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
        np.arange(len(cdfs), dtype=np.uint16).reshape(1, 1, -1, 1),
    )


@st.composite
def choices(draw, model):
    """Draw a size (H, W), and the tables of a few channels, in contexts or alone."""
    size = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    channels, contexts = draw(st.integers(1, 4)), draw(st.sampled_from([1, CONTEXTS]))
    rows = draw(hnp.arrays(np.uint16, (channels, contexts), elements=st.integers(0, model.offset.size - 1)))
    centre = st.one_of(st.integers(-3, 3), st.sampled_from([SYMBOL_MIN, SYMBOL_MAX]))
    return TableChoice(rows, draw(hnp.arrays(np.int16, channels, elements=centre))), size


@st.composite
def messages(draw):
    """Draw a model, and symbols with the tables they are to be coded under."""
    model = draw(models())
    choice, size = draw(choices(model))
    value = st.one_of(
        st.integers(-3, 3), st.integers(SYMBOL_MIN, SYMBOL_MAX), st.sampled_from([SYMBOL_MIN, SYMBOL_MAX])
    )
    return model, choice, draw(hnp.arrays(np.int16, (len(choice.rows), *size), elements=value))


@st.composite
def foreign_payloads(draw):
    """Draw a model, what chooses its tables, and bytes that nobody encoded."""
    model = draw(models())
    return model, *draw(choices(model)), draw(st.binary(max_size=60))


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 17), (26, 26)])
@pytest.mark.parametrize("largest", [1, 9, SYMBOL_MAX])
def test_rows_as_long_as_a_vector_choose_the_tables_that_the_definition_chooses(size, largest):
    random = np.random.default_rng(size[1])
    symbols = random.integers(-largest - (largest == SYMBOL_MAX), largest + 1, (4, *size), dtype=np.int16)
    rows = np.arange(4 * CONTEXTS, dtype=np.uint16).reshape(4, CONTEXTS)
    choice = TableChoice(rows, np.array([0, 1, SYMBOL_MIN, SYMBOL_MAX], np.int16))
    assert (rans._indexes(symbols, rows, choice.centre) == choice.indexes(symbols)).all()


@settings(max_examples=300)
@given(messages())
def test_compiled_and_plain_coder_agree_and_round_trip(message):
    model, choice, symbols = message
    tables, size = rans.Tables.build(model), symbols.shape[1:]
    payload = rans.encode(symbols, choice, tables)
    assert payload == rans_reference.encode(symbols, choice, model)
    assert payload == push_symbols(symbols.ravel(), choice.indexes(symbols), tables)
    assert rans.decode(payload, choice, size, tables).tolist() == symbols.tolist()
    assert rans_reference.decode(payload, choice, size, model).tolist() == symbols.tolist()


@settings(max_examples=300)
@given(foreign_payloads())
def test_compiled_and_plain_decoder_judge_random_bytes_alike(message):
    model, choice, size, payload = message
    outcomes = []
    for decode in (
        lambda: rans.decode(payload, choice, size, rans.Tables.build(model)),
        lambda: rans_reference.decode(payload, choice, size, model),
    ):
        try:
            outcomes.append(decode().tolist())
        except BitstreamError:
            outcomes.append("refused")
    assert outcomes[0] == outcomes[1]


@settings(max_examples=200)
@given(st.integers(1, TOTAL - 2), st.lists(st.integers(1, 2**16), max_size=50))
def test_the_reciprocal_divides_exactly_at_every_frequency(frequency, quotients):
    cdf = np.array([0, frequency, TOTAL - 1, TOTAL], np.uint16)
    model = EntropyModel(cdf, np.array([0, 4], np.int32), np.zeros(1, np.int32), np.zeros((1, 1, 1, 1), np.uint16))
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
    payload = rans.encode(symbols, model.choice(1, 0, 48), rans.Tables.build(model))
    assert len(payload) <= 1.001 * model.bits(symbols, 1, 0) / 8 + 4


def test_a_silent_latent_takes_four_bytes():
    tables = rans.Tables.build(golden_model())
    assert len(rans.encode(np.zeros((48, 20, 20), np.int16), FIRST_TABLES, tables)) == 4


def test_escapes_everywhere_stay_within_the_buffer():
    tables = rans.Tables.build(golden_model())
    for extreme in (SYMBOL_MIN, SYMBOL_MAX):
        payload = rans.encode(np.full((48, 10, 10), extreme, np.int16), FIRST_TABLES, tables)
        assert len(payload) < 4800 * rans.BYTES_PER_SYMBOL_MAX
        assert (rans.decode(payload, FIRST_TABLES, (10, 10), tables) == extreme).all()


def test_arrays_of_any_layout_can_be_encoded():
    model, tables = golden_model(), rans.Tables.build(golden_model())
    symbols, choice = golden_symbols(), golden_model().choice(2, 1, 4)
    expected = rans_reference.encode(symbols, choice, model)
    frozen = symbols.copy()
    frozen.flags.writeable = False
    assert rans.encode(frozen, choice, tables) == expected
    assert rans.encode(np.repeat(symbols, 2, axis=2)[:, :, ::2], choice, tables) == expected


def test_a_wrong_table_never_reaches_the_loop():
    tables, wrong = rans.Tables.build(golden_model()), TableChoice.alone(np.full(1, 5, np.uint16))
    with pytest.raises(ValueError, match="below 5"):
        rans.encode(np.zeros((1, 1, 1), np.int16), wrong, tables)
    with pytest.raises(ValueError, match="below 5"):
        rans.decode(bytes(8), wrong, (1, 1), tables)


@pytest.mark.parametrize(("rows", "centres"), [((1, 1), 1), ((2, 3), 2), ((2, 1), 1)])
def test_tables_that_do_not_fit_the_channels_never_reach_the_loop(rows, centres):
    choice = TableChoice(np.zeros(rows, np.uint16), np.zeros(centres, np.int16))
    with pytest.raises(ValueError, match="2 channels need tables"):
        rans.encode(np.zeros((2, 1, 1), np.int16), choice, rans.Tables.build(golden_model()))


@pytest.mark.parametrize("decoder", ["compiled", "plain"])
def test_an_escape_beyond_int16_is_refused(decoder):
    model = golden_model()
    writer = rans_reference._Writer()
    writer.push(0xFFFF, 1, 16)
    writer.push(16, 1, 5)
    writer.push(TOTAL - 1, 1, 15)
    payload, choice = writer.finish(), TableChoice.alone(np.zeros(1, np.uint16))
    with pytest.raises(BitstreamError, match="beyond int16"):
        if decoder == "compiled":
            rans.decode(payload, choice, (1, 1), rans.Tables.build(model))
        else:
            rans_reference.decode(payload, choice, (1, 1), model)


def test_extra_bytes_are_refused():
    tables, choice = rans.Tables.build(golden_model()), golden_model().choice(2, 1, 4)
    payload = rans.encode(golden_symbols(), choice, tables)
    with pytest.raises(BitstreamError, match="does not end"):
        rans.decode(payload + b"\0", choice, (5, 7), tables)


def test_a_function_without_a_cache_folder_is_still_compiled():
    namespace = {}
    # A function without a file: numba finds no place for its cache.
    exec("def double(value):\n    return 2 * value", namespace)
    assert rans.compiled(namespace["double"])(21) == 42


def test_importing_compiles_nothing():
    code = "from splitnet.codec import feature_codec, rans; print(len(rans.push_all.overloads))"
    project = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
