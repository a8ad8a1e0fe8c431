"""A download that stands back for frames: over made-up links, without a clock."""

from __future__ import annotations

import pytest

from edge_client.delivery.pacing import LEAST_PIECE, MOST_PIECE, BackgroundPace


def download(pace: BackgroundPace, size: int, capacity: float, way_s: float = 0.03) -> tuple[float, float]:
    """Return the seconds that a download takes over a link of so many bytes a second, and those that it is busy."""
    now, left, busy = 0.0, size, 0.0
    while left > 0:
        now += pace.wait_s(now)
        asked, piece = now, min(left, pace.piece_bytes)
        now += way_s + piece / capacity
        busy += piece / capacity
        pace.received(asked, now, piece)
        left -= piece
    return now, busy


@pytest.mark.parametrize("capacity", [12_500, 125_000, 1_250_000])
def test_it_leaves_a_link_alone_for_most_of_the_time(capacity: float) -> None:
    seconds, busy = download(BackgroundPace(), 200_000, capacity)
    assert busy / seconds < 0.26


def test_a_model_of_200_kb_comes_within_half_a_minute_over_a_megabit() -> None:
    seconds, _ = download(BackgroundPace(), 200_000, capacity=125_000)
    assert 6 < seconds < 30


def test_a_fast_link_is_used_by_large_pieces() -> None:
    pace = BackgroundPace()
    seconds, _ = download(pace, 10_000_000, capacity=12_500_000, way_s=0.005)
    assert (pace.piece_bytes, round(seconds)) == (MOST_PIECE, 5)


def test_alone_it_asks_for_whole_pieces_without_waiting() -> None:
    pace = BackgroundPace(is_alone=True)
    pace.received(0.0, 9.0, MOST_PIECE)
    assert (pace.piece_bytes, pace.wait_s(9.0)) == (MOST_PIECE, 0)


def test_no_piece_keeps_a_thin_link_busy_for_long() -> None:
    pace = BackgroundPace()
    for _ in range(100):
        download(pace, 5000, capacity=125_000)
        assert pace.piece_bytes / 125_000 <= 0.05


def test_it_backs_off_when_answers_queue() -> None:
    pace = BackgroundPace()
    download(pace, 100_000, capacity=1_250_000)
    before = pace.piece_bytes
    for number in range(20):
        pace.received(5.0 + number, 5.5 + number, pace.piece_bytes)
    assert before > 4 * LEAST_PIECE and pace.piece_bytes == LEAST_PIECE
    assert pace.wait_s(24.5) == pytest.approx(4 * (0.5 - (0.03 + 1024 / 1_250_000)), abs=1e-3)


def test_late_frames_stop_it_for_longer_and_longer() -> None:
    pace = BackgroundPace()
    pace.late(10.0, 1)
    assert pace.wait_s(10.0) == 1.0
    pace.late(10.5, 1)  # none more
    assert pace.wait_s(11.0) == 0
    pace.late(12.0, 3)
    pace.late(15.0, 4)
    assert pace.wait_s(15.0) == 4.0
    for more in range(5, 9):
        pace.late(20.0, more)
    assert pace.wait_s(20.0) == 8.0
