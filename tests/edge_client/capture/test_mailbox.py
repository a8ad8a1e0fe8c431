"""The mailbox between reader and encoder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from edge_client.capture.mailbox import Mailbox

NEVER = 60.0  # seconds of patience that no test waits for


@pytest.fixture
def overtaken():
    return []


@pytest.fixture
def mailbox(overtaken):
    opened = Mailbox(places=2, on_overtaken=overtaken.append)
    opened.resume()
    return opened


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_the_newest_frame_wins_and_the_overtaken_ones_are_told(mailbox, overtaken):
    for frame in (1, 2, 3):
        mailbox.put(frame)
    assert mailbox.take() == (3, True)
    assert overtaken == [1, 2]


def test_no_more_frames_are_taken_than_there_are_places(mailbox, pool):
    for frame in (1, 2):
        mailbox.put(frame)
        assert mailbox.take() == (frame, True)
    mailbox.put(3)
    third = pool.submit(mailbox.take)
    mailbox.put(4)
    assert not third.done()
    mailbox.release()
    assert third.result(5) == (4, True)  # not 3: the frame is chosen when the place falls free


def test_waiting_and_placed_frames_are_pending(mailbox):
    assert mailbox.pending == 0
    mailbox.put(1)
    assert mailbox.pending == 1
    mailbox.take()
    mailbox.put(2)
    assert mailbox.pending == 2
    mailbox.release()
    assert mailbox.pending == 1


def test_a_paused_mailbox_holds_back_only_the_newest_frame(mailbox, pool):
    mailbox.pause()
    taken = pool.submit(mailbox.take)
    mailbox.put(1)
    mailbox.put(2)
    assert not taken.done()
    mailbox.resume()
    assert taken.result(5) == (2, True)


def test_the_impatient_go_without_a_place_while_it_is_paused(mailbox, pool):
    mailbox.pause()
    mailbox.put(1)
    assert mailbox.take(NEVER) == (1, False)
    taken = pool.submit(mailbox.take, NEVER)
    mailbox.put(2)
    assert taken.result(5) == (2, False)
    mailbox.resume()
    mailbox.put(3)
    assert mailbox.take(NEVER) == (3, True)


def test_a_pause_ends_the_wait_of_the_impatient(mailbox, pool):
    for frame in (1, 2):
        mailbox.put(frame)
        mailbox.take()
    mailbox.put(3)
    taken = pool.submit(mailbox.take, NEVER)
    assert not taken.done()
    mailbox.pause()
    assert taken.result(5) == (3, False)


def test_patience_with_a_silent_link_is_lost_once_and_found_again_with_the_next_place(mailbox, pool):
    for frame in (1, 2):
        mailbox.put(frame)
        assert mailbox.take(0.0) == (frame, True)
    mailbox.put(3)
    assert mailbox.take(0.0) == (3, False)
    mailbox.put(4)
    assert mailbox.take(NEVER) == (4, False)  # at once: nothing has come back meanwhile
    mailbox.release()
    mailbox.put(5)
    assert mailbox.take(NEVER) == (5, True)
    mailbox.put(6)
    waiting = pool.submit(mailbox.take, NEVER)
    assert not waiting.done()
    mailbox.release()
    assert waiting.result(5) == (6, True)


@pytest.mark.parametrize("event", ["resume", "close", "finish"])
def test_the_first_link_is_waited_for(pool, event):
    mailbox = Mailbox(1)
    waiting = pool.submit(mailbox.wait_until_resumed)
    assert not waiting.done()
    getattr(mailbox, event)()
    assert waiting.result(5) is None
    mailbox.pause()
    mailbox.wait_until_resumed()  # once was enough


def test_nothing_is_overtaken_when_the_reader_waits(mailbox, pool, overtaken):
    written = pool.submit(lambda: [mailbox.put(frame, wait=True) for frame in range(50)])
    taken = []
    for _ in range(50):
        taken.append(mailbox.take()[0])
        mailbox.release()
    assert written.result(5) == [True] * 50
    assert taken == list(range(50))
    assert overtaken == []


@pytest.mark.parametrize("patience_s", [None, NEVER])
def test_a_finished_mailbox_gives_its_last_frame_and_then_none(mailbox, patience_s):
    mailbox.put(1)
    mailbox.finish()
    assert mailbox.take(patience_s) == (1, True)
    assert mailbox.take(patience_s) is None


@pytest.mark.parametrize("patience_s", [None, NEVER])
def test_closing_wakes_the_reader_and_the_encoder(mailbox, pool, patience_s):
    for frame in (1, 2):
        mailbox.put(frame)
        mailbox.take()
    mailbox.put(3)
    started = Event()

    def put_fourth() -> bool:
        started.set()
        return mailbox.put(4, wait=True)

    writer, encoder = pool.submit(put_fourth), pool.submit(mailbox.take, patience_s)
    started.wait(5)
    mailbox.close()
    assert writer.result(5) is False
    assert encoder.result(5) is None


def test_a_frame_left_over_at_the_end_counts_as_overtaken(mailbox, overtaken):
    mailbox.put(1)
    mailbox.close()
    mailbox.close()
    assert overtaken == [1]


def test_a_frame_left_over_at_the_end_may_be_told_apart(overtaken):
    left_over = []
    mailbox = Mailbox(1, overtaken.append, left_over.append)
    for number in (1, 2):
        mailbox.put(number)
    mailbox.close()
    assert (overtaken, left_over) == ([1], [2])
