"""The attacks in their short form: the server lives, keeps its memory, and ends when it is told to."""

from __future__ import annotations

import json

import pytest

from benchmarks.__main__ import main
from benchmarks.serving.attack_tables import attack, tls
from benchmarks.serving.half_sent import http2_frame, request_headers

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


@pytest.mark.slow
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


def test_frames_and_headers_are_as_http2_has_them():
    assert http2_frame(0, 1, 3, b"abc") == b"\x00\x00\x03\x00\x01\x00\x00\x00\x03abc"
    assert request_headers("Detect").startswith(b"\x00\x07:method\x04POST")
