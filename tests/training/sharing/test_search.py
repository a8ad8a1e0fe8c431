"""The search for a plan: no donor is a recipient, the least loss within a budget, and what it costs if nothing fits."""

from __future__ import annotations

from training.sharing.search import Priced, best_within, choices

SIZES = {"a": 100, "b": 100, "c": 50}


def merge(index: int, donor: str, recipient: str, loss: float, saved: int) -> Priced:
    return Priced(donor, recipient, index, loss, saved)


MERGES = [
    merge(0, "a", "b", 1.0, 40),
    merge(1, "a", "b", 5.0, 80),
    merge(2, "b", "a", 0.5, 30),
    merge(3, "a", "c", 2.0, 20),
    merge(4, "b", "c", 1.0, 20),
    merge(5, "a", "c", 9.0, -10),
]


def chosen(budget: float) -> tuple[list[int], bool]:
    choice, is_within = best_within(choices(SIZES, MERGES), budget)
    return sorted(one.index for one in choice.merges), is_within


def test_with_room_for_all_nothing_is_merged():
    assert chosen(250) == ([], True)


def test_the_least_loss_within_the_budget_is_chosen():
    assert chosen(225) == ([2], True)
    assert chosen(200) == ([2, 4], True)  # 1.5, and 30 + 20 saved
    assert chosen(170) == ([1], True)  # 5.0: nothing cheaper saves 80


def test_no_donor_is_a_recipient():
    for choice in choices(SIZES, MERGES):
        assert not {one.donor for one in choice.merges} & {one.recipient for one in choice.merges}


def test_if_nothing_fits_the_smallest_is_returned_and_says_so():
    assert chosen(10) == ([1, 3], False)


def test_a_merge_that_costs_more_than_it_saves_is_never_chosen():
    assert all(one.index != 5 for choice in choices(SIZES, MERGES) for one in choice.merges)


def test_larger_choices_lose_less():
    front = choices(SIZES, MERGES)
    assert [choice.bytes for choice in front] == sorted((choice.bytes for choice in front), reverse=True)
    assert [choice.loss for choice in front] == sorted(choice.loss for choice in front)
