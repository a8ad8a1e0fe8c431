"""What is told of objects that come, move and go: exact events on a fake clock."""

from __future__ import annotations

from splitnet.outputs.change_feed import MAX_CAMERAS, ChangeFeed, Event, FeedSettings, Observation
from splitnet.outputs.tracker import Sighting
from splitnet.outputs.zones import parse_zone

DOOR = parse_zone("door 0:0 0.5:0 0.5:1 0:1")


def feed(**settings: object) -> ChangeFeed:
    return ChangeFeed(FeedSettings(**settings), "run")


def frame(time: float, *lefts: float, camera: str = "yard", label: str = "person") -> Observation:
    """Return a frame of 100 x 100 pixels with a box of 20 x 20 at each place."""
    boxes = [Sighting(label, 0.8, (left, 40.0, left + 20.0, 60.0)) for left in lefts]
    return Observation(camera, time, 100, 100, boxes)


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def test_an_object_is_told_of_once_it_has_stayed():
    one = feed()
    assert one.observe(frame(0.0, 10)) == []
    assert one.observe(frame(0.4, 10)) == []
    (event,) = one.observe(frame(0.5, 11))
    assert event.to_json() == {
        "type": "new",
        "before": {
            "id": "run-1",
            "camera": "yard",
            "label": "person",
            "score": 0.8,
            "top_score": 0.8,
            "box": [10.0, 40.0, 30.0, 60.0],
            "area": 400,
            "zones": (),
            "entered_zones": (),
            "stationary": False,
            "start_time": 0.0,
            "frame_time": 0.0,
            "end_time": None,
        },
        "after": {**event.before.to_json(), "box": [11.0, 40.0, 31.0, 60.0], "frame_time": 0.5},
    }


def test_a_flash_is_never_told_of():
    one = feed()
    assert one.observe(frame(0.0, 10)) == []
    assert one.observe(frame(9.0)) == []
    assert one.tick(99.0) == []


def test_an_object_of_low_score_is_told_of_once_it_has_been_clear():
    one = feed()

    def seen(time: float, score: float) -> Observation:
        return Observation("yard", time, 100, 100, [Sighting("person", score, (10.0, 40.0, 30.0, 60.0))])

    assert [types(one.observe(seen(time, 0.3))) for time in (0.0, 0.5, 1.0)] == [[], [], []]
    assert types(one.observe(seen(1.1, 0.5))) == ["new"]
    assert types(one.observe(seen(1.2, 0.3))) == []


def test_frames_without_news_say_nothing():
    one = feed()
    events = [event for step in range(90) for event in one.observe(frame(step / 10, 10 + step % 2))]
    assert types(events) == ["new"]


def test_a_move_is_told_of_at_most_once_a_second():
    one = feed()
    events = [event for step in range(31) for event in one.observe(frame(step / 10, 10 + 2 * step))]
    assert [(event.type, event.after.frame_time) for event in events] == [
        ("new", 0.5),
        ("update", 1.5),
        ("update", 2.5),
    ]
    assert events[1].before == events[0].after


def test_entering_a_zone_is_told_of_at_once_and_remembered():
    one = feed(zones=(DOOR,))
    one.observe(frame(0.0, 48))
    assert types(one.observe(frame(0.5, 45))) == ["new"]
    (event,) = one.observe(frame(0.6, 38))
    assert (event.type, event.before.zones, event.after.zones) == ("update", (), ("door",))
    assert one.counts("yard") == {("", "person"): 1, ("door", "person"): 1}
    (event,) = one.observe(frame(0.7, 44))
    assert (event.after.zones, event.after.entered_zones) == ((), ("door",))


def test_a_zone_of_another_camera_does_not_count():
    one = feed(zones=(parse_zone("street/door 0:0 1:0 1:1 0:1"),))
    one.observe(frame(0.0, 10))
    assert one.observe(frame(0.5, 10))[0].after.zones == ()


def test_an_object_that_rests_is_told_of_once():
    one = feed()
    events = [event for second in range(30) for event in one.observe(frame(float(second), 10))]
    assert [(event.type, event.after.frame_time, event.after.stationary) for event in events] == [
        ("new", 1.0, False),
        ("update", 11.0, True),
    ]
    (event,) = one.observe(frame(30.0, 20))
    assert (event.type, event.after.stationary) == ("update", False)


def test_the_end_comes_without_frames_too():
    one = feed(gone_s=2.0)
    one.observe(frame(0.0, 10))
    one.observe(frame(1.0, 10))
    assert one.tick(2.9) == []
    (event,) = one.tick(3.0)
    assert (event.type, event.after.end_time, event.before.end_time) == ("end", 1.0, None)
    assert one.counts("yard") == {}


def test_only_the_wanted_classes_are_told_of():
    one = feed(classes=frozenset({"car"}))
    for time in (0.0, 0.5):
        assert one.observe(frame(time, 10)) == []


def test_cameras_do_not_mix():
    one = feed()
    one.observe(frame(0.0, 10, camera="yard"))
    assert one.observe(frame(0.5, 10, camera="street")) == []
    assert types(one.observe(frame(0.6, 10, camera="yard"))) == ["new"]


def test_of_too_many_cameras_the_most_silent_is_forgotten_and_its_objects_end():
    one = feed()
    one.observe(frame(0.0, 10, camera="first"))
    one.observe(frame(0.5, 10, camera="first"))
    for number in range(MAX_CAMERAS - 1):
        one.observe(frame(1.0, camera=f"camera {number}"))
    (event,) = one.observe(frame(1.0, camera="last"))
    assert (event.type, event.after.camera) == ("end", "first")
    assert len(one.cameras) == MAX_CAMERAS
    assert one.counts("first") == {}
