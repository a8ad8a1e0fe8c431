"""An update gives the same bits on every machine, or nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from splitnet.errors import UpdateError
from splitnet.updates.weights import families
from splitnet.updates.weights.byte_reader import number_bytes
from splitnet.updates.weights.families import Change, TensorChange, changed, has_family, step_of
from splitnet.updates.weights.weight_format import CHECK_BYTES, Layout, WeightUpdate, WholeTensor, pack, unpack
from splitnet.updates.weights.weight_update import apply_weights, checksum, layouts_of, pack_weights
from tests.support.golden_update import GOLDEN, GOLDEN_AFTER, SHAPES, golden_base, golden_update

HEAD = 1 + 2 * CHECK_BYTES  # bytes, up to the seed


def test_the_golden_update_is_written_as_ever():
    assert pack_weights(golden_update(), golden_base()) == GOLDEN.read_bytes()


def test_the_golden_update_gives_the_weights_of_ever():
    found = apply_weights(GOLDEN.read_bytes(), golden_base())
    assert sorted(found) == sorted({*SHAPES, "extra", "tables"} - {"head.bias"})
    assert found["head.weight"].shape == (3, 8, 1, 1) and found["stem.gain"].dtype == np.float32
    assert np.array_equal(found["stem.bias"], golden_base()["stem.bias"])
    assert checksum((name, found[name]) for name in sorted(found) if name != "tables").hex() == GOLDEN_AFTER


def test_what_is_written_is_read_again():
    layouts = layouts_of(golden_base())
    update = replace(golden_update(), before=b"before!!", after=b"after!!!")
    found = unpack(pack(update, layouts), layouts)
    assert (found.seed, found.dropped, found.before, found.after) == (3, ("head.bias",), b"before!!", b"after!!!")
    assert found.changes.keys() == update.changes.keys() and found.whole.keys() == update.whole.keys()
    for name, tensor in update.changes.items():
        for family, change in tensor.changes.items():
            other = found.changes[name].changes[family]
            assert (other.step_code, other.rank) == (change.step_code, change.rank)
            assert all(np.array_equal(one, two) for one, two in zip(change.parts, other.parts, strict=True))


def test_factors_are_their_product():
    left, right = np.array([1, -2], np.int16), np.array([3, 0, 1], np.int16)
    change = TensorChange({"factors": Change(-4, (left, right), 1)})
    assert changed(np.ones((2, 3)), change, 0).tolist() == [[2.5, 1.0, 1.5], [-2.0, 1.0, 0.0]]


def test_channels_are_scaled():
    base = np.array([[1.0, 2.0], [4.0, 8.0]])
    change = TensorChange({"outputs": Change(-4, (np.array([1, 0], np.int16),))})
    assert changed(base, change, 0).tolist() == [[1.5, 3.0], [4.0, 8.0]]
    change = TensorChange({"inputs": Change(-8, (np.array([0, -1], np.int16),))})
    assert changed(base, change, 0).tolist() == [[1.0, 1.5], [4.0, 6.0]]


def test_a_layer_of_single_channels_has_no_rank():
    assert not has_family((8, 1, 3, 3), "factors") and has_family((8, 1, 3, 3), "outputs")
    assert not has_family((8,), "outputs") and has_family((8,), "dense")


def test_steps_are_quarters_of_octaves():
    assert [step_of(code) for code in (-8, 0, 4, 5)] == [0.25, 1.0, 2.0, 2 * 1.189207115002721]


def test_products_that_are_not_exact_are_refused(monkeypatch):
    change = TensorChange({"basis": Change(0, (np.full(64, 32_767, np.int16),) * 2, 64)})
    assert np.isfinite(changed(np.zeros((64, 64)), change, 0)).all()
    monkeypatch.setattr(families, "_EXACT", 1 << 20)
    with pytest.raises(UpdateError, match="exactly"):
        changed(np.zeros((64, 64)), change, 0)


def test_other_weights_than_it_is_for_are_refused():
    base = golden_base()
    base["stem.bias"][3] += 1
    with pytest.raises(UpdateError, match="for other weights"):
        apply_weights(GOLDEN.read_bytes(), base)


def test_other_names_than_it_is_for_are_refused():
    base = golden_base()
    base["stem.other"] = base.pop("stem.bias")
    with pytest.raises(UpdateError):
        apply_weights(GOLDEN.read_bytes(), base)


def test_every_flipped_bit_and_every_cut_is_refused():
    data, base = GOLDEN.read_bytes(), golden_base()
    flips = [data[:i] + bytes([data[i] ^ 1 << (i % 8)]) + data[i + 1 :] for i in range(len(data))]
    for wrong in [*flips, *(data[:i] for i in range(0, len(data), 7)), data + b"\0"]:
        with pytest.raises(UpdateError):
            apply_weights(wrong, base)


def test_infinite_weights_are_refused():
    whole = WholeTensor(Layout(np.dtype(np.float16), (1,)), 80, np.array([9], np.int16))
    with pytest.raises(UpdateError, match="infinite"):
        pack_weights(WeightUpdate({}, {"stem.bias": whole}), golden_base())


def hostile(*numbers: int) -> bytes:
    """Return an update whose numbers after the digests are these."""
    return GOLDEN.read_bytes()[:HEAD] + b"".join(map(number_bytes, numbers))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(hostile(0, 7), id="more names dropped than there are"),
        pytest.param(hostile(0, 1, 99), id="a name outside the model"),
        pytest.param(hostile(0, 0, 1, 99), id="a tensor outside the model"),
        pytest.param(hostile(0, 0, 1, 1, 0, 2, 1 << 24, 1 << 24, 0), id="a tensor as large as the address space"),
        pytest.param(hostile(0, 0, 3, *(1, 0, 1, 1 << 22, 0) * 3), id="many large tensors"),
        pytest.param(hostile(0, 0, 1, 1, 0, 7), id="a tensor of many axes"),
        pytest.param(hostile(0, 0, 1, 1, 0, 1, (1 << 35) - 1), id="a side that overflows"),
        pytest.param(hostile(0, 0, 20_000), id="tensors without end"),
        pytest.param(hostile(0, 0, 0, 1 << 30), id="columns longer than the update"),
        pytest.param(hostile(1 << 33), id="a seed that overflows"),
        pytest.param(hostile(0, 0, 1, 0, 250), id="a long name"),
        pytest.param(hostile() + b"\x80" * 9, id="a number without end"),
        pytest.param(hostile(0, 0, 1, 0, 3) + b"a\nb", id="a name of two lines"),
    ],
)
def test_hostile_updates_are_refused(data):
    with pytest.raises(UpdateError):
        apply_weights(data, golden_base())


def test_a_rank_beyond_the_tensors_is_refused():
    base = {"w": np.zeros((4, 4), np.float16)}
    parts = (np.ones(4, np.int16), np.ones(4, np.int16)) * 9
    data = pack(
        WeightUpdate({"w": TensorChange({"factors": Change(0, parts, 9)})}, {}, (), 0, b"8" * 8, b"8" * 8),
        layouts_of(base),
    )
    with pytest.raises(UpdateError, match="rank 9 of w"):
        apply_weights(data, base)


def test_a_newer_format_is_refused_by_name():
    with pytest.raises(UpdateError, match="format 2"):
        apply_weights(b"\x02" + GOLDEN.read_bytes()[1:], golden_base())
