"""A replica's door and the lines that lead to it, over real sockets."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import numpy as np
import pytest

from cloud_server.cluster import door as door_module
from cloud_server.cluster import line as line_module
from cloud_server.cluster.line import Answer, Line, dial
from tests.support.fake_replica import BATCH, KEY, QUESTION, WAIT_S, FakeReplica


@pytest.fixture
def replica() -> Iterator[FakeReplica]:
    one = FakeReplica()
    yield one
    one.close()


def asked(line: Line) -> Answer:
    line.send(QUESTION)
    answer = line.receive(WAIT_S)
    assert isinstance(answer, Answer)
    return answer


def has_hung_up(end: socket.socket) -> bool:
    """Return whether nothing more comes from the other end, once it has said all that it says."""
    end.settimeout(WAIT_S)
    try:
        while end.recv(4096):
            pass
    except ConnectionResetError:
        pass
    return True


def test_a_batch_goes_in_and_its_detections_come_out(replica):
    line = dial(replica.place)
    answer = asked(line)
    assert answer.by == replica.facts
    assert [one.labels.tolist() for one in answer.detections] == [[7]]
    (frames,) = replica.batches
    assert frames[0].point == BATCH[0].point
    np.testing.assert_array_equal(frames[0].data, BATCH[0].data)
    line.close()


def test_a_batch_that_fails_is_refused_with_the_reason_and_the_next_one_is_computed(replica):
    line = dial(replica.place)
    replica.fails = ValueError("a poisoned frame")
    assert asked(line).refused == "ValueError: a poisoned frame"
    replica.fails = None
    assert asked(line).refused == ""
    line.close()


def test_who_does_not_know_the_token_is_turned_away(replica):
    with pytest.raises(OSError, match="does not know the token"):
        dial(replace(replica.place, token=b"another"))


def test_a_door_that_does_not_know_the_token_is_not_believed(replica):
    """Else whoever took a dead replica's port would be sent frames, and its answers unpickled."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pretend() -> None:
            with listener.accept()[0] as end, Connection(os.dup(end.fileno())) as connection:
                connection.send_bytes(b"#CHALLENGE#" + bytes(20))
                connection.recv_bytes()
                connection.send_bytes(b"#WELCOME#")  # whatever was said
                connection.recv_bytes()
                connection.send_bytes(bytes(16))
                has_hung_up(end)

        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(OSError, match="does not know the token"):
            dial(replace(replica.place, port=listener.getsockname()[1]))
        thread.join(WAIT_S)


class Planted:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize("says", [pickle.dumps(Planted()), b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n"])
def test_nothing_of_a_stranger_is_unpickled(replica, says):
    place = replica.place
    with socket.create_connection((place.host, place.port)) as end, Connection(os.dup(end.fileno())) as connection:
        connection.send_bytes(says)
        assert has_hung_up(end)
    assert not replica.batches


def test_who_says_nothing_is_hung_up_on(replica, monkeypatch):
    monkeypatch.setattr(line_module, "HANDSHAKE_S", 0.05)
    with socket.create_connection((replica.place.host, replica.place.port)) as end:
        assert has_hung_up(end)


def test_no_more_are_let_in_than_may_be(replica, monkeypatch):
    monkeypatch.setattr(door_module, "MAX_LINES", 1)
    line = dial(replica.place)
    with pytest.raises(OSError):
        dial(replica.place)
    assert asked(line).refused == ""
    line.close()


def test_a_message_that_is_too_long_ends_the_line_before_memory_is_taken(replica, monkeypatch):
    line = dial(replica.place)
    monkeypatch.setattr(line_module, "MAX_BYTES", 1000)
    line.send(QUESTION)
    with pytest.raises(OSError):
        line.receive(WAIT_S)
    assert not replica.batches
    line.close()


def test_a_batch_that_nobody_waits_for_is_not_computed(replica):
    first, second = dial(replica.place), dial(replica.place)
    replica.gate.clear()
    first.send(QUESTION)
    assert replica.entered.acquire(timeout=WAIT_S)
    second.send(QUESTION)
    second.close()
    replica.gate.set()
    first.receive(WAIT_S)
    assert asked(first).refused == ""
    replica.door.close()
    assert len(replica.batches) == 2
    first.close()


def test_closing_answers_the_batch_that_is_computed_and_then_hangs_up(replica):
    line = dial(replica.place)
    replica.gate.clear()
    line.send(QUESTION)
    assert replica.entered.acquire(timeout=WAIT_S)
    closing = threading.Thread(target=replica.door.close)
    closing.start()
    replica.gate.set()
    assert isinstance(line.receive(WAIT_S), Answer)
    with pytest.raises(OSError):
        line.receive(WAIT_S)
    closing.join(WAIT_S)
    with pytest.raises(OSError):
        dial(replica.place)
    line.close()


def test_a_batch_that_does_not_end_is_noticed(replica, monkeypatch):
    monkeypatch.setattr(door_module, "STUCK_S", -1.0)
    line = dial(replica.place)
    assert not replica.door.is_stuck
    replica.gate.clear()
    line.send(QUESTION)
    assert replica.entered.acquire(timeout=WAIT_S)
    assert replica.door.is_stuck
    replica.gate.set()
    line.receive(WAIT_S)
    assert not replica.door.is_stuck
    line.close()


def test_the_token_is_in_no_log(replica):
    assert replica.place.key == KEY and "token" not in repr(replica.place)
