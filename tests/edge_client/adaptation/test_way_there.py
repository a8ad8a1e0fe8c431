"""What a server that waits must leave of a deadline."""

from __future__ import annotations

import pytest

from edge_client.adaptation.way_there import MAX_UNACKED, REMEMBERED, WayThere


def test_nothing_is_left_while_nothing_is_known():
    way = WayThere()
    way.sent(1.0, 1)
    way.acked(2.0, 99)
    assert way.ms == 0.0


def test_what_few_frames_exceed_is_left():
    way = WayThere()
    for number in range(REMEMBERED):
        way.sent(float(number), number)
        way.acked(number + 0.010 + 0.001 * number, number)
    assert way.ms == pytest.approx(10 + 0.95 * (REMEMBERED - 1))


def test_old_frames_are_forgotten():
    way = WayThere()
    for number in range(3 * REMEMBERED):
        way.sent(float(number), number)
        way.acked(number + (5.0 if number < REMEMBERED else 0.010), number)
    assert way.ms == pytest.approx(10)


def test_frames_that_are_never_acknowledged_are_bounded():
    way = WayThere()
    for number in range(1000):
        way.sent(0.0, number)
    assert len(way._sent_at) == MAX_UNACKED
