"""Quarters of a picture: what each device computes, and that they join to what one device makes of the whole."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest

from benchmarks.groups.regions import Span, Way, _add, region_symbols, regions, run, spans
from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE

CELLS = 4


@pytest.fixture
def canvas() -> np.ndarray:
    side = CELLS * LATENT_STRIDE
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def test_positions_are_shared_out_evenly_with_a_margin_inside_the_picture():
    assert spans(13, 2, 1) == [Span(0, 8, 0, 7), Span(6, 13, 7, 13)]
    assert spans(5, 1, 2) == [Span(0, 5, 0, 5)]


def test_quarters_cover_each_position_once():
    seen = np.zeros((13, 13), int)
    for rows, columns in regions(13, 2, 1):
        seen[rows.own_begin : rows.own_end, columns.own_begin : columns.own_end] += 1
    assert (seen == 1).all()


def test_quarters_that_see_everything_join_to_what_one_device_makes(device, canvas):
    whole = device.encoder.encode(canvas, 1, 0)
    joined = np.zeros_like(whole)
    for region in regions(CELLS, 2, CELLS):
        rows, columns = region
        own = region_symbols(device, canvas, region, 1, 0)
        joined[:, rows.own_begin : rows.own_end, columns.own_begin : columns.own_end] = own
    assert np.array_equal(joined, whole)


def test_a_quarter_knows_nothing_of_the_pixels_beyond_its_margin(device, canvas):
    first = regions(CELLS, 2, 1)[0]
    other = canvas.copy()
    other[first.rows.end * LATENT_STRIDE :] = 0
    assert np.array_equal(region_symbols(device, canvas, first, 1, 0), region_symbols(device, other, first, 1, 0))


def test_a_lost_quarter_is_not_sent(device, server, photo):
    side = CELLS * LATENT_STRIDE
    ways = [Way(side, 0, regions(CELLS, 2, 0), lost=lost) for lost in (False, True)]
    for way in ways:
        _add(way, 0, photo, device, server, 0)
    assert 0 < ways[1].sent < ways[0].sent
    assert [len(way.found) for way in ways] == [1, 1]


def test_a_bundle_that_does_not_stretch_pictures_is_refused(tiny_bundle, tmp_path):
    given = Namespace(bundle=tiny_bundle, whole=[64], sides=[64], margins=[0], lost=[], quality=0)
    with pytest.raises(ConfigError, match="does not stretch pictures to a square"):
        run(given)
