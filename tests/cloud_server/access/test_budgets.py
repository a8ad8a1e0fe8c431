"""Token buckets and places, by exact times."""

from __future__ import annotations

import pytest

from cloud_server.access import budgets as module
from cloud_server.access.budgets import Buckets, Places
from splitnet.errors import ShedError


def test_a_bucket_lasts_for_its_burst_and_then_tells_how_long_to_wait():
    buckets = Buckets(per_s=10.0, burst=3.0)
    assert [buckets.take("a", 0.0) for _ in range(5)] == pytest.approx([0.0, 0.0, 0.0, 0.1, 0.2])
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 1.0) == 0.0


def test_what_is_not_allowed_costs_nothing():
    buckets = Buckets(per_s=1.0, burst=2.0)
    assert [buckets.allow("a", 0.0) for _ in range(4)] == [True, True, False, False]
    assert buckets.allow("a", 1.0) and not buckets.allow("a", 1.0)


def test_a_payer_may_have_a_rate_of_its_own():
    buckets = Buckets(per_s=100.0, burst=100.0)
    allowed = [time / 10 for time in range(100) if buckets.allow("a", time / 10, per_s=2.0)]
    assert len(allowed) == 4 - 1 + 20


def test_payers_that_come_once_are_forgotten(monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    buckets = Buckets(per_s=1.0, burst=1.0)
    for number in range(1000):
        buckets.take(number, 0.0)
    assert len(buckets._full_again) <= 10


def test_places_are_given_back_whatever_happens():
    places = Places()
    with pytest.raises(ZeroDivisionError), places.take("a", 1, "calls"):
        assert places.taken("a") == 1
        with (
            pytest.raises(ShedError, match="1 calls are open already, which is the limit"),
            places.take("a", 1, "calls"),
        ):
            pass
        with places.take("b", 1, "calls"):
            raise ZeroDivisionError
    assert places.taken("a") == places.taken("b") == 0 and not places._taken
