"""Objects keep their number while their boxes overlap, and there is an end to how many are followed."""

from __future__ import annotations

import pytest

from splitnet.outputs.tracker import MAX_TRACKS, Sighting, Tracker, intersection_over_union


def seen(left: float, label: str = "car", score: float = 0.9) -> Sighting:
    return Sighting(label, score, (left, 0.0, left + 10.0, 10.0))


def test_the_overlap_of_boxes():
    assert intersection_over_union((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert intersection_over_union((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert intersection_over_union((0, 0, 0, 0), (0, 0, 0, 0)) == 0


def test_an_object_that_moves_keeps_its_number():
    tracker = Tracker(gone_s=3)
    for step in range(5):
        tracker.update(step, [seen(3.0 * step, score=0.5 + step / 10)])
    (track,) = tracker.tracks
    assert (track.number, track.sightings, track.first_seen, track.last_seen) == (1, 5, 0, 4)
    assert (track.score, track.top_score, track.box) == (0.9, 0.9, (12.0, 0.0, 22.0, 10.0))


def test_another_class_is_another_object():
    tracker = Tracker(gone_s=3)
    tracker.update(0, [seen(0)])
    tracker.update(1, [seen(0, "truck")])
    assert [(track.number, track.label) for track in tracker.tracks] == [(1, "car"), (2, "truck")]


def test_two_that_pass_each_other_are_matched_by_the_greatest_overlap():
    tracker = Tracker(gone_s=3)
    tracker.update(0, [seen(0), seen(6)])
    tracker.update(1, [seen(7), seen(1)])
    assert [track.box[0] for track in tracker.tracks] == [1, 7]


def test_an_object_is_gone_after_a_while_without_a_sighting():
    tracker = Tracker(gone_s=3)
    tracker.update(0, [seen(0)])
    assert tracker.gone(2.9) == []
    assert [track.number for track in tracker.gone(3)] == [1]
    assert tracker.tracks == []


def test_a_clock_that_is_set_back_leaves_no_object_for_ever():
    tracker = Tracker(gone_s=3)
    tracker.update(1_000_000, [seen(0)])
    assert [track.number for track in tracker.gone(0)] == [1]


def test_of_a_crowd_the_best_are_followed():
    tracker = Tracker(gone_s=3)
    crowd = [seen(20.0 * index, score=index / 1000) for index in range(300)]
    for step in range(3):
        tracker.update(step, crowd)
    assert len(tracker.tracks) == MAX_TRACKS
    assert min(track.score for track in tracker.tracks) == 0.2
