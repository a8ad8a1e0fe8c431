"""The attacks in their short form: the server lives, keeps its memory, and ends when it is told to."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest

from benchmarks.__main__ import main
from benchmarks.serving.attack_tables import attack, tls
from benchmarks.serving.attacks import Target, costly_image, empty_segments, refused_frames
from benchmarks.serving.half_sent import http2_frame, request_headers
from benchmarks.serving.raw_attacks import endless_headers, large_metadata, pings_and_settings, rapid_resets
from benchmarks.serving.tls_throughput import lost, rate_after
from cloud_server.access.entrance import open_entrance
from edge_client.transport.session import open_session
from splitnet.errors import LinkError
from splitnet.image_header import image_size
from splitnet.messages import FrameDetections, OpenSession
from tests.support.fake_model import DIGEST, frame
from tests.support.locked_server import started

MOMENT_S = 0.1
BESIDE = (empty_segments, refused_frames)  # those that leave the event loop to others

ROW = {
    "attack": "Open 500 connections and say nothing",
    "sent": 50,
    "in_time_share": 0.98,
    "p50_ms": 50.4,
    "p95_ms": 80.2,
    "growth_mb": 8.3,
    "left_mb": -1.0,
    "stop_s": 1.12,
}


@pytest.mark.parametrize("attack", BESIDE, ids=lambda attack: attack.__name__)
async def test_an_honest_device_is_answered_under_each_attack_and_the_server_ends(attack):
    """All in this process, the attacker too, for a moment; `make attack` has processes, and minutes."""
    async with started(open_entrance()) as (_, address, _):
        attacking = asyncio.create_task(attack(Target(address, DIGEST)))
        await asyncio.sleep(MOMENT_S)
        async with open_session(address, OpenSession("honest", DIGEST)) as session:
            session.send(frame(1))
            replies = [await asyncio.wait_for(anext(session.replies()), 10) for _ in range(2)]
        assert not attacking.done(), "it goes on until it is ended"
        attacking.cancel()
        await asyncio.gather(attacking, return_exceptions=True)
        assert isinstance(replies[-1], FrameDetections)


@pytest.mark.parametrize("progressive", [False, True])
def test_the_costly_image_is_one(progressive):
    assert image_size(costly_image(progressive)) == (4096, 4096)


@pytest.mark.long
def test_a_server_survives_an_attack_of_a_moment(tiny_bundle, tmp_path):
    out = tmp_path / "attack.json"
    words = ["--seconds", "0.5", "--settle-s", "0", "--attacks", "half_sent_sessions"]
    assert main(["attack", "--bundle", str(tiny_bundle), *words, "--out", str(out)]) == 0
    calm, attacked = json.loads(out.read_text())["attacks"]
    assert calm["attack"] == "nothing" and attacked["attack"].startswith("Send openings of 1 MiB")
    assert attacked["growth_mb"] < 100 and attacked["stop_s"] is not None


def test_an_attack_that_is_not_known_is_refused(tiny_bundle, capsys):
    assert main(["attack", "--bundle", str(tiny_bundle), "--attacks", "kindness"]) == 2
    assert "--attacks names some of the list" in capsys.readouterr().err


def test_the_table_has_a_line_for_each_attack():
    rows = [{**ROW, "attack": "nothing"}, ROW, {**ROW, "p50_ms": None, "stop_s": None}]
    lines = attack({"attacks": rows}).splitlines()
    assert lines[2] == "| does nothing | 98% of 50 | 50, 80 | 8, 0 | 1.1 s |"
    assert lines[3].startswith("| Open 500 connections and say nothing |")
    assert lines[4].endswith("| - | 8, 0 | not |")


def test_the_table_of_tls_has_a_line_for_each_way():
    assert tls({"ways": [{"way": "clear", "p50_ms": 1.234, "cpu_ms": 0.3456}]}).splitlines()[2] == (
        "| clear | 1.23 | 0.346 |"
    )


def test_the_table_of_tls_tells_what_servers_reach():
    shares = {"lost_share": [0.002, -0.01, 0.013], "more_cpu_share": [0.01, 0.005, 0.02]}
    ways = [{"way": "clear", "frames_per_s": 40.04, "cpu_ms": 24.3}]
    ways += [{"way": "tls", "frames_per_s": 39.96, "cpu_ms": 24.5, **shares}]
    assert tls({"ways": [], "served": ways}).endswith(
        "\nA server at its limit answers 40.04 (clear) and 39.96 (tls) frames a second: "
        "TLS takes 0.2% (-1.0% to 1.3%).\n"
        "A frame takes 24.3 and 24.5 ms of the server's processor time: 1.0% (0.5% to 2.0%) more.\n"
    )


def test_a_rate_counts_whole_batches_from_answer_to_answer():
    """Two frames each half second; a round that begins anywhere between two batches says four a second."""
    times = [0.5 * (n // 2) for n in range(20)]
    assert {rate_after(times, begins) for begins in (1.0, 1.2, 1.49)} == {4.0}
    with pytest.raises(LinkError, match="longer rounds"):
        rate_after([1.0, 1.0], 2.0)


def test_what_is_lost_is_the_median_over_pairs_with_an_interval():
    share, low, high = lost([9.0, 8.0, 9.0], [10.0, 10.0, 10.0])
    assert share == pytest.approx(0.1) and low == pytest.approx(0.1) and high == pytest.approx(0.2)


@pytest.mark.parametrize("make", [rapid_resets, endless_headers, large_metadata, pings_and_settings])
def test_raw_frames_are_whole_and_none_is_larger_than_http2_allows(make):
    for frames in itertools.islice(make(), 3):
        while frames:
            size = int.from_bytes(frames[:3], "big")
            assert size <= 16_384 and len(frames) >= 9 + size
            frames = frames[9 + size :]


def test_frames_and_headers_are_as_http2_has_them():
    assert http2_frame(0, 1, 3, b"abc") == b"\x00\x00\x03\x00\x01\x00\x00\x00\x03abc"
    assert request_headers("Detect").startswith(b"\x00\x07:method\x04POST")
