"""The way of a device that was away: a chain of updates or everything, whichever is smaller, and it says which."""

from __future__ import annotations

import pytest

from splitnet.errors import UpdateError
from splitnet.updates.route import cheapest_route
from tests.support.artefacts import digest, update, whole

CHAIN = [update(2, "one", "two"), update(3, "two", "three"), update(4, "three", "four")]


def versions(route) -> list[int]:
    return [step.version for step in route.steps]


def test_a_device_that_was_away_for_three_versions_takes_the_chain_if_that_is_smaller():
    goal = whole(5, "four", 1000)
    route = cheapest_route([*CHAIN, goal], goal, digest("one"))
    assert versions(route) == [2, 3, 4] and route.sent_bytes == 30
    assert route.in_words == "3 updates in a row, 30 bytes instead of the whole device half, 1,000 bytes"


def test_and_everything_if_that_is_smaller():
    goal = whole(5, "four", 25)
    route = cheapest_route([*CHAIN, goal], goal, digest("one"))
    assert versions(route) == [5]
    assert route.in_words == "the whole device half, 25 bytes instead of 3 updates in a row, 30 bytes"


def test_a_device_with_nothing_gets_something_whole_and_what_came_after():
    first, last = whole(1, "one", 500), CHAIN[-1]
    route = cheapest_route([first, *CHAIN], last, "")
    assert versions(route) == [1, 2, 3, 4] and route.sent_bytes == 530 and route.in_words.startswith("4 updates")


def test_what_is_there_already_costs_nothing():
    goal = whole(5, "four", 1000)
    route = cheapest_route([*CHAIN, goal], goal, digest("one"), frozenset({goal.files[0].stored_sha256}))
    assert versions(route) == [5] and route.sent_bytes == 0


def test_a_chain_that_does_not_begin_here_leads_nowhere():
    with pytest.raises(UpdateError, match="no way leads to version 4"):
        cheapest_route(CHAIN, CHAIN[-1], digest("elsewhere"))


def test_later_versions_than_the_goal_are_not_gone_through():
    goal = whole(3, "three", 1000)
    detour = update(9, "one", "three", 1)
    assert versions(cheapest_route([detour, goal], goal, digest("one"))) == [3]


def test_updates_in_a_circle_end():
    circle = [update(2, "one", "two"), update(3, "two", "one")]
    goal = whole(4, "four", 100)
    assert versions(cheapest_route([*circle, goal], goal, digest("one"))) == [4]
