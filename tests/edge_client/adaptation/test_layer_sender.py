"""Which layers may go: within the window, in order, and not when they are of no use any more."""

from __future__ import annotations

from edge_client.adaptation.layer_sender import LayerSender

FIRST = ("a0", "a1", "a2")
SECOND = ("b0", "b1", "b2")


def names(ready) -> list[str]:
    return [one.payload for one in ready]


def test_two_layers_go_at_once_and_each_ack_lets_another_go():
    sender: LayerSender[str] = LayerSender()
    assert names(sender.add(0.0, 1, FIRST)) == ["a0", "a1"]
    assert names(sender.acked(0.1, 1, 0)) == ["a2"]
    assert names(sender.acked(0.2, 1, 1)) == []


def test_a_newer_frames_first_layer_never_waits():
    sender: LayerSender[str] = LayerSender()
    sender.add(0.0, 1, FIRST)
    assert names(sender.add(0.1, 2, SECOND)) == ["b0"]
    assert names(sender.acked(0.2, 1, 0)) == []  # two are still under way
    assert names(sender.acked(0.3, 1, 1)) == ["a2"]
    assert names(sender.acked(0.4, 2, 0)) == ["b1"]


def test_what_is_of_no_use_any_more_is_not_sent():
    sender: LayerSender[str] = LayerSender()
    sender.add(0.0, 1, FIRST, until=0.2)
    sender.add(0.1, 2, SECOND, until=0.4)
    assert names(sender.acked(0.3, 1, 0)) == []
    assert names(sender.acked(0.35, 1, 1)) == ["b1"]
    assert names(sender.acked(0.45, 2, 0)) == []


def test_the_rest_of_an_answered_frame_is_not_sent_and_its_place_is_free():
    sender: LayerSender[str] = LayerSender()
    sender.add(0.0, 1, FIRST)
    sender.forget(1)
    assert names(sender.add(0.1, 2, SECOND)) == ["b0", "b1"]


def test_acks_that_come_late_twice_or_of_nothing_do_no_harm():
    sender: LayerSender[str] = LayerSender()
    sender.add(0.0, 1, FIRST)
    assert names(sender.acked(0.1, 1, 1)) == ["a2"]
    assert names(sender.acked(0.2, 1, 1)) == []
    assert names(sender.acked(0.2, 9, 0)) == []
    sender.clear()
    assert names(sender.acked(0.3, 1, 0)) == []
