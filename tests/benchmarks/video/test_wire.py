"""What a still room takes on the wire: counted by a relay, and a difference of two runs."""

from __future__ import annotations

import json
import socket
import threading

import pytest

from benchmarks.harness.counting_relay import PACKET_OVERHEAD_BYTES, Traffic, counting_relay
from benchmarks.video.wire import per_frame
from benchmarks.video.wire_tables import wire
from splitnet.errors import LinkError


def answering(listener: socket.socket) -> None:
    """Answer one connection's 6 bytes with 4, and close."""
    connection, _ = listener.accept()
    with connection:
        taken = b""
        while len(taken) < 6:
            taken += connection.recv(6)
        connection.sendall(taken[:4])


def test_a_relay_counts_bytes_and_packets_of_both_directions():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answerer = threading.Thread(target=answering, args=(listener,))
        answerer.start()
        with counting_relay(f"127.0.0.1:{listener.getsockname()[1]}") as (address, traffic):
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as device:
                device.sendall(b"frames")
                assert device.recv(10) == b"fram"
            answerer.join()
        assert (traffic.up_bytes, traffic.down_bytes) == (6, 4)
        assert traffic.up_packets >= 2 and traffic.down_packets >= 2  # what carried them, and the connection's own
        assert traffic.up_wire_bytes == 6 + traffic.up_packets * PACKET_OVERHEAD_BYTES


def test_what_the_longer_run_takes_more_is_its_further_frames():
    few, many = Traffic(1000, 100, 10, 10), Traffic(1600, 220, 22, 16)
    assert per_frame((few, 10), (many, 22)) == {
        "up_bytes": 50.0,
        "up_packets": 1.0,
        "up_wire_bytes": 102.0,
        "down_bytes": 10.0,
        "down_packets": 0.5,
        "down_wire_bytes": 36.0,
    }


def test_a_run_that_skipped_the_rest_says_nothing_of_a_frame():
    traffic = Traffic(1000, 100, 10, 10)
    with pytest.raises(LinkError, match="nothing else to do"):
        per_frame((traffic, 40), (traffic, 40))


def test_numbers_that_cannot_be_are_refused(capsys):
    from benchmarks.__main__ import main

    assert main(["wire", "--frames", "4"]) == 2
    assert "at least 8" in capsys.readouterr().err


@pytest.mark.long
def test_a_still_room_is_measured_over_a_real_session(tmp_path, tiny_bundle):
    from benchmarks.__main__ import main

    out = tmp_path / "wire.json"
    assert main(["wire", "--bundle", str(tiny_bundle), "--frames", "40", "--quality", "1", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    by_way = {row["way"]: row for row in result["rows"]}
    assert by_way["changes"]["up_wire_bytes"] < by_way["whole frames"]["up_wire_bytes"]
    assert "| whole frames |" in wire(result)
