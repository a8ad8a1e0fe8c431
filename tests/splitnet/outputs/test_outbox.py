"""What waits for a broker is bounded, and its retained state is right whatever happens in between."""

from __future__ import annotations

from splitnet.outputs.outbox import MAX_EVENT_BYTES, MAX_EVENTS, Message, Outbox


def tell_all(outbox: Outbox) -> list[Message]:
    told = []
    while (message := outbox.next()) is not None:
        told.append(message)
        outbox.told(message)
    return told


def test_states_go_first_and_only_when_they_change():
    outbox = Outbox()
    outbox.event("events", "1")
    outbox.state("count", "1")
    assert tell_all(outbox) == [Message("count", "1", 1, True), Message("events", "1", 1, False)]
    outbox.state("count", "1")
    assert tell_all(outbox) == []


def test_only_the_latest_state_is_told():
    outbox = Outbox()
    for count in range(5):
        outbox.state("count", str(count))
    assert tell_all(outbox) == [Message("count", "4", 1, True)]


def test_a_state_that_changes_while_it_is_told_is_told_again():
    outbox = Outbox()
    outbox.state("count", "1")
    message = outbox.next()
    assert message is not None
    outbox.state("count", "2")
    outbox.told(message)
    assert tell_all(outbox) == [Message("count", "2", 1, True)]


def test_every_state_is_told_again_on_a_new_connection_and_no_event_is():
    outbox = Outbox()
    outbox.state("a", "1")
    outbox.event("events", "1")
    outbox.state("b", "2")
    tell_all(outbox)
    outbox.connected()
    assert tell_all(outbox) == [Message("a", "1", 1, True), Message("b", "2", 1, True)]


def test_an_hour_without_a_broker_leaves_the_newest_events_and_the_states():
    outbox = Outbox()
    for second in range(3600):
        outbox.event("events", str(second))
        outbox.state("count", str(second % 3))
    assert len(outbox) == MAX_EVENTS + 1
    assert outbox.dropped == 3600 - MAX_EVENTS
    first, *_, last = tell_all(outbox)
    assert (first, last.payload) == (Message("count", "2", 1, True), "3599")


def test_large_events_are_bounded_by_their_bytes():
    outbox = Outbox()
    for _ in range(10):
        outbox.event("frames", "x" * (MAX_EVENT_BYTES // 4))
    assert len(outbox) == 4


def test_what_is_remembered_of_an_earlier_run_is_put_right():
    outbox = Outbox()
    outbox.state("count/car", "2")
    tell_all(outbox)
    outbox.remembered("count/car", "2", "0")
    assert tell_all(outbox) == []
    outbox.remembered("count/car", "5", "0")
    outbox.remembered("count/dog", "1", "0")
    outbox.remembered("count/cat", "0", "0")
    outbox.remembered("zone/old/count/car", "1", "")
    assert tell_all(outbox) == [
        Message("count/car", "2", 1, True),
        Message("count/dog", "0", 1, True),
        Message("zone/old/count/car", "", 1, True),
    ]


def test_an_event_that_was_dropped_while_it_was_told_takes_no_other_with_it():
    outbox = Outbox(max_events=2)
    outbox.event("events", "1")
    message = outbox.next()
    assert message is not None
    for number in "23":
        outbox.event("events", number)
    outbox.told(message)
    assert [one.payload for one in tell_all(outbox)] == ["2", "3"]
