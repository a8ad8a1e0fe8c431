"""The self-test that travels with a model: the same image everywhere, and symbols that another model does not make."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from splitnet.bundle import DeviceBundle, load_device
from splitnet.errors import UpdateError
from splitnet.updates.self_test import AGREEMENT_PERCENT, check, record, symbols_of
from splitnet.updates.self_test import test_image as image_of
from tests.support.tiny_bundle import QUALITIES, WIDTHS, write_tiny_bundle

SEED = 7


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> DeviceBundle:
    """Return a device half with other weights and the same tables."""
    folder = tmp_path_factory.mktemp("other")
    write_tiny_bundle(folder, seed=1)
    return load_device(folder)


@pytest.mark.parametrize(
    ("seed", "side", "digest"),
    [(0, 64, "611cdd9460282495"), (SEED, 640, "36ddb61f2b685216"), ((1 << 64) + SEED, 640, "36ddb61f2b685216")],
)
def test_the_image_is_the_same_on_every_machine(seed, side, digest):
    image = image_of(seed, side)
    assert (image.shape, image.dtype) == ((side, side, 3), np.uint8)
    assert hashlib.sha256(image.tobytes()).hexdigest()[:16] == digest


def test_a_model_agrees_with_itself(device):
    test, expected = record(device, SEED)
    assert (test.width, test.quality, test.seed) == (WIDTHS, QUALITIES // 2, SEED)
    assert test.agreement_percent == AGREEMENT_PERCENT
    assert check(device, test, expected) == 1.0


def test_other_weights_disagree(device, other):
    test, _ = record(other, SEED)
    expected = device.codec.compress(symbols_of(other, test), test.width, test.quality)
    with pytest.raises(UpdateError, match=r"the self-test disagrees: \d+\.\d% of its symbols are equal, 97 % must be"):
        check(device, test, expected)


def test_what_another_model_has_recorded_is_not_taken(device, other):
    with pytest.raises(UpdateError, match="cannot be made: the bitstream was made with bundle"):
        check(device, *record(other, SEED))


def test_a_few_symbols_may_differ_and_more_may_not(device):
    test, _ = record(device, SEED)
    symbols = symbols_of(device, test)
    for share, agrees in ((0.02, True), (0.05, False)):
        changed = symbols.copy().reshape(-1)
        changed[: round(share * changed.size)] += 1
        expected = device.codec.compress(changed.reshape(symbols.shape), test.width, test.quality)
        if agrees:
            assert check(device, test, expected) == pytest.approx(1 - share, abs=0.01)
        else:
            with pytest.raises(UpdateError, match="disagrees"):
                check(device, test, expected)


def test_symbols_of_another_operating_point_do_not_count(device):
    test, expected = record(device, SEED)
    with pytest.raises(UpdateError, match=r"0\.0% of its symbols"):
        check(device, replace(test, quality=test.quality + 1), expected)


@pytest.mark.parametrize("width", [-1, WIDTHS + 1, 1 << 40])
def test_a_width_that_the_model_does_not_have_is_a_test_that_cannot_be_made(width, device):
    test, expected = record(device, SEED)
    with pytest.raises(UpdateError, match="cannot be made"):
        check(device, replace(test, width=width), expected)


@pytest.mark.parametrize("quality", [-1, QUALITIES])
def test_so_is_a_quality_that_it_does_not_have(quality, device):
    test, expected = record(device, SEED)
    with pytest.raises(UpdateError, match="cannot be made"):
        check(device, replace(test, quality=quality), expected)


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_so_is_one_whose_file_is_damaged(cut, device):
    test, expected = record(device, SEED)
    with pytest.raises(UpdateError, match="cannot be made"):
        check(device, test, expected[:cut])
