"""Zones: what their settings say, and which objects stand in them."""

from __future__ import annotations

import pytest

from splitnet.errors import ConfigError
from splitnet.outputs.zones import Zone, parse_zone, zones_of

DRIVE = Zone("drive", ((0.0, 0.5), (1.0, 0.5), (1.0, 1.0), (0.0, 1.0)))
CORNER = Zone("corner", ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5)))


def test_a_zone_is_read():
    assert parse_zone("drive 0:0.5 1:0.5 1:1 0:1") == DRIVE
    assert parse_zone("yard-cam/corner 0:0 0.5:0 0:.5") == Zone("corner", CORNER.corners, "yard-cam")


@pytest.mark.parametrize(
    "text",
    ["", "drive", "drive 0:0 1:1", "drive 0:0 1:1 2:0", "drive 0,0 1,1 1,0", "a+b 0:0 1:1 1:0", "drive 0:0 1:1 nan:0"],
)
def test_what_is_no_zone_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r'a zone is "NAME X:Y X:Y X:Y \.\.\."'):
        parse_zone(text)


def test_a_zone_of_very_many_corners_is_refused():
    with pytest.raises(ConfigError):
        parse_zone("drive " + "0:0 " * 1_000_000)


@pytest.mark.parametrize(
    ("box", "zones"),
    [
        ((10, 10, 30, 40), ("corner",)),  # stands at 0.2, 0.2
        ((10, 10, 30, 190), ("drive",)),
        ((0, 0, 100, 200), ("drive",)),  # down to the border
        ((80, 10, 100, 40), ()),
    ],
)
def test_an_object_stands_where_the_middle_of_its_lower_side_is(box, zones):
    assert zones_of(box, 100, 200, (DRIVE, CORNER)) == zones
