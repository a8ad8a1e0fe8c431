"""The mailbox between reader and encoder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from edge_client.mailbox import Mailbox


@pytest.fixture
def mailbox():
    opened = Mailbox(places=2)
    opened.resume()
    return opened


@pytest.fixture
def pool():
    with ThreadPoolExecutor(4) as threads:
        yield threads


def test_the_newest_frame_wins_and_the_overtaken_ones_are_counted(mailbox):
    for frame in (1, 2, 3):
        mailbox.put(frame)
    assert mailbox.take() == 3
    assert (mailbox.received, mailbox.overtaken) == (3, 2)


def test_no_more_frames_are_taken_than_there_are_places(mailbox, pool):
    for frame in (1, 2):
        mailbox.put(frame)
        assert mailbox.take() == frame
    mailbox.put(3)
    third = pool.submit(mailbox.take)
    mailbox.put(4)
    assert not third.done()
    mailbox.release()
    assert third.result(5) == 4  # not 3: the frame is chosen when the place falls free


def test_a_paused_mailbox_holds_back_only_the_newest_frame(mailbox, pool):
    mailbox.pause()
    taken = pool.submit(mailbox.take)
    mailbox.put(1)
    mailbox.put(2)
    assert not taken.done()
    mailbox.resume()
    assert taken.result(5) == 2


def test_nothing_is_overtaken_when_the_reader_waits(mailbox, pool):
    written = pool.submit(lambda: [mailbox.put(frame, wait=True) for frame in range(50)])
    taken = []
    for _ in range(50):
        taken.append(mailbox.take())
        mailbox.release()
    assert written.result(5) == [True] * 50
    assert taken == list(range(50))
    assert mailbox.overtaken == 0


def test_a_finished_mailbox_gives_its_last_frame_and_then_none(mailbox):
    mailbox.put(1)
    mailbox.finish()
    assert mailbox.take() == 1
    assert mailbox.take() is None


def test_closing_wakes_the_reader_and_the_encoder(mailbox, pool):
    mailbox.put(1)
    mailbox.pause()
    started = Event()

    def put_second() -> bool:
        started.set()
        return mailbox.put(2, wait=True)

    writer, encoder = pool.submit(put_second), pool.submit(mailbox.take)
    started.wait(5)
    mailbox.close()
    assert writer.result(5) is False
    assert encoder.result(5) is None


def test_a_frame_left_over_at_the_end_counts_as_overtaken(mailbox):
    mailbox.put(1)
    mailbox.close()
    mailbox.close()
    assert mailbox.overtaken == 1
