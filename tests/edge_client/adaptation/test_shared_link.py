"""What several cameras learn of one link, and what each may use of it."""

from __future__ import annotations

import pytest

from edge_client.adaptation.link import LinkEstimate
from edge_client.adaptation.shared_link import Others, SharedLink
from splitnet.messages import Ack

RATE_BPS = 800_000.0
BYTES = 4900  # and 100 of the message: 50 ms of the link


def send(camera, frame_id: int, now: float) -> float:
    """Send a frame over an idle link and acknowledge it; returns when."""
    camera.sent(now, frame_id, BYTES)
    arrived = now + 8 * (BYTES + 100) / RATE_BPS + 0.01
    camera.acked(arrived, Ack(frame_id, BYTES, round(arrived * 1e6), 0))
    camera.forget(arrived, frame_id)
    return arrived


def test_what_one_camera_learns_the_others_know():
    link = SharedLink()
    front, yard = link.camera(), link.camera()
    for camera in (front, yard):
        camera.up(0.0)
    now = 0.0
    for frame_id in range(1, 20):
        now = send(front, frame_id, now + 0.1)
    assert yard.estimate(now) == front.estimate(now)
    assert yard.estimate(now).capacity_bps is not None


def test_frames_of_the_same_number_are_not_confused_and_all_of_them_are_queued():
    link = SharedLink()
    front, yard = link.camera(), link.camera()
    front.up(0.0), yard.up(0.0)
    front.sent(1.0, 7, BYTES)
    yard.sent(1.0, 7, BYTES)
    assert yard.estimate(1.0).in_flight_bytes == 2 * (BYTES + 100)
    front.forget(1.1, 7)
    assert yard.estimate(1.1).in_flight_bytes == BYTES + 100


def test_a_session_that_breaks_takes_only_its_own_frames_along():
    link = SharedLink()
    front, yard = link.camera(), link.camera()
    front.up(0.0), yard.up(0.0)
    now = send(front, 1, 1.0)
    front.sent(now, 2, BYTES), yard.sent(now, 1, BYTES)
    front.down(now)
    assert yard.estimate(now).in_flight_bytes == BYTES + 100
    assert yard.estimate(now).capacity_bps is not None
    yard.down(now)  # the last: the next session may take another way
    assert front.estimate(now) == LinkEstimate()


def test_a_camera_alone_has_all_of_it():
    link = SharedLink()
    camera = link.camera()
    camera.up(0.0)
    send(camera, 1, 1.0)
    camera.encoded(1.0, 50.0)
    assert camera.others(1.0) == Others()
    assert (Others().link_share(None), Others().encoder_share, Others().kbps_left(500.0)) == (1.0, 1.0, 500.0)


def test_a_camera_may_use_what_the_others_leave_but_never_less_than_an_equal_part():
    assert Others(4, bps=1e5).link_share(1e6) == pytest.approx(0.9)
    assert Others(4, bps=9e5).link_share(1e6) == 0.25
    assert Others(4, bps=1e5).link_share(None) == 0.25  # nothing is known yet
    assert Others(4, encoding=0.6).encoder_share == pytest.approx(0.4)
    assert Others(2, bps=300_000.0).kbps_left(400.0) == 200.0
    assert Others(2, bps=100_000.0).kbps_left(400.0) == pytest.approx(300.0)


def test_what_a_camera_uses_fades_when_it_stops():
    link = SharedLink()
    front, yard = link.camera(), link.camera()
    for frame in range(100):
        front.sent(frame / 10, frame, 1150)  # 10 KB a second and 100 bytes each: 100 kbps
        front.encoded(frame / 10, 20.0)
    others = yard.others(9.9)
    assert (others.cameras, others.bps) == (2, pytest.approx(100_000, rel=0.05))
    assert others.encoding == pytest.approx(0.2, rel=0.05)
    assert yard.others(19.9).bps < 1000


def test_two_that_want_everything_end_at_equal_parts():
    """Each frame takes what its camera may use of the link just then."""
    link = SharedLink()
    cameras = [link.camera(), link.camera()]
    sent = [0.0, 0.0]
    for step in range(400):
        now = step / 10
        for i, camera in enumerate(cameras):
            if i == 1 and step < 100:
                continue  # it comes later, when the other has taken all
            share = camera.others(now).link_share(RATE_BPS)
            camera.sent(now, step, round(share * RATE_BPS / 80) - 100)
            sent[i] += share * (step >= 300)
    assert sent[0] / sum(sent) == pytest.approx(0.5, abs=0.02)
