"""A download that stands back for frames: over made-up links, without a clock."""

from __future__ import annotations

from edge_client.delivery.pacing import LEAST_BPS, MOST_PIECE, BackgroundPace


def download(pace: BackgroundPace, size: int, capacity: float, queued_s: float = 0.0, most_s: float = 600.0) -> float:
    """Return the seconds that a download takes over a link of so many bytes a second, with a queue in front."""
    now, left = 0.0, size
    while left > 0 and now < most_s:
        now += pace.wait_s(now)
        asked, piece = now, min(left, pace.piece_bytes)
        now += 0.03 + queued_s + piece / capacity
        pace.received(asked, now, piece)
        left -= piece
    return now


def test_it_finds_what_the_link_carries():
    seconds = download(BackgroundPace(), 200_000, capacity=125_000)
    assert 1.6 < seconds < 15


def test_alone_it_asks_for_whole_pieces_without_waiting():
    pace = BackgroundPace(is_alone=True)
    assert pace.piece_bytes == MOST_PIECE and pace.wait_s(5.0) == 0


def test_it_backs_off_when_answers_queue():
    pace = BackgroundPace()
    download(pace, 100_000, capacity=125_000)
    before = pace.rate
    for _ in range(20):
        pace.received(20.0, 20.5, pace.piece_bytes)
    assert pace.rate < before / 10 and pace.rate >= LEAST_BPS


def test_late_frames_stop_it_for_a_second():
    pace = BackgroundPace()
    pace.late(10.0, 1)
    assert pace.wait_s(10.0) == 1.0
    pace.late(10.5, 1)  # none more
    assert pace.wait_s(11.0) == 0


def test_a_piece_never_keeps_the_link_busy_for_long():
    pace = BackgroundPace()
    for _ in range(100):
        download(pace, 5000, capacity=125_000)
        assert pace.piece_bytes / 125_000 < 0.2
