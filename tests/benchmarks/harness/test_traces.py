"""Links that change over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.harness.traces import (
    PACKET_BYTES,
    Trace,
    part,
    ramp,
    read_csv,
    read_mahimahi,
    read_trace,
    steps,
    with_outages,
)
from splitnet.errors import ConfigError

PACKETS = Trace("packets", np.array([0.1, 0.2, 0.21, 0.5]), np.full(4, 1500.0), 0.5)


@pytest.mark.parametrize(
    ("start_s", "size", "finish_s"),
    [(0.0, 1, 0.1), (0.0, 1500, 0.1), (0.0, 1501, 0.2), (0.1, 3000, 0.21), (0.0, 6000, 0.5), (0.3, 1501, 0.6)],
)  # fmt: skip
def test_a_payload_is_through_with_the_opportunity_that_takes_its_last_byte(start_s, size, finish_s):
    assert PACKETS.finish_time(start_s, size) == pytest.approx(finish_s)


def test_capacity_is_what_was_delivered_over_time():
    assert PACKETS.capacity_bps(0.0, 0.5) == pytest.approx(8 * 6000 / 0.5)
    assert PACKETS.capacity_bps(0.25, 0.45) == 0.0
    assert PACKETS.capacity_bps(0.0, 5.0) == pytest.approx(8 * 6000 / 0.5)


def test_steps_have_their_rates():
    trace = steps([4.0, 1.0], 10.0)
    assert trace.duration_s == 20
    assert trace.capacity_bps(0.0, 10.0) == pytest.approx(4e6)
    assert trace.capacity_bps(10.0, 20.0) == pytest.approx(1e6)
    assert trace.finish_time(10.0, 12_500) == pytest.approx(10.1)


def test_a_ramp_goes_up_and_comes_back():
    trace = ramp(1.0, 3.0, 5.0)
    assert trace.duration_s == pytest.approx(10.0)
    assert trace.capacity_bps(0.0, 10.0) == pytest.approx(2e6)
    assert trace.capacity_bps(0.0, 1.0) < trace.capacity_bps(4.0, 5.0)


def test_an_outage_delivers_nothing():
    trace = with_outages(steps([1.0], 10.0), [(2.0, 3.0)])
    assert trace.capacity_bps(2.0, 4.999) == 0.0
    assert trace.finish_time(2.5, 100) == pytest.approx(5.001, abs=0.002)


def test_a_part_is_a_trace_of_its_own():
    piece = part(steps([4.0, 1.0], 10.0), 9.0, 2.0)
    assert piece.duration_s == 2
    assert piece.capacity_bps(0.0, 1.0) == pytest.approx(4e6, rel=0.01)
    assert piece.capacity_bps(1.0, 2.0) == pytest.approx(1e6, rel=0.01)


def test_a_mahimahi_file_is_a_packet_a_line(tmp_path):
    path = tmp_path / "cell.up"
    path.write_text("100\n200\n200\n500\n")
    trace = read_trace(path)
    assert trace.name == "cell"
    assert trace.times_s.tolist() == [0.1, 0.2, 0.2005, 0.5]  # two in one millisecond
    assert set(trace.bytes_.tolist()) == {PACKET_BYTES}


def test_a_csv_file_is_seconds_and_mbps(tmp_path):
    path = tmp_path / "drive.csv"
    path.write_text("0,2\n3,0.5\n5,0\n")
    trace = read_trace(path)
    assert trace.duration_s == 5
    assert trace.capacity_bps(0.0, 3.0) == pytest.approx(2e6)
    assert trace.capacity_bps(3.0, 5.0) == pytest.approx(5e5)


@pytest.mark.parametrize("text", ["", "a\n", "3\n2\n", "-1\n", "nan\n"])
def test_a_file_that_is_no_trace_is_refused(tmp_path, text):
    path = tmp_path / "bad.up"
    path.write_text(text)
    with pytest.raises(ConfigError, match="milliseconds"):
        read_mahimahi(path)


@pytest.mark.parametrize("text", ["0,1\n", "0\n1\n", "0,1\n0,2\n"])
def test_a_csv_file_needs_two_columns_and_two_moments(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_csv(path)


def test_a_missing_file_is_an_error_of_ours(tmp_path):
    with pytest.raises(ConfigError, match="missing"):
        read_mahimahi(tmp_path / "missing.up")


@given(st.floats(0, 3), st.floats(1, 50_000), st.floats(1, 50_000))
def test_two_payloads_in_a_row_end_with_or_after_one_of_both(start_s, first, second):
    between = PACKETS.finish_time(start_s, first)
    assert start_s <= between <= PACKETS.finish_time(between, second)
    assert PACKETS.finish_time(between, second) >= PACKETS.finish_time(start_s, first + second) - 1e-9


@pytest.mark.parametrize("header", ["seconds,Mbps\n", "\ufefftime (s), rate\r\n"])
def test_a_table_of_rates_may_have_a_header(tmp_path, header):
    path = tmp_path / "link.csv"
    path.write_text(header + "0,2\n\n5,0\n", encoding="utf-8")
    assert (read_csv(path).duration_s, read_csv(path).capacity_bps(0, 5)) == (5.0, pytest.approx(2e6))


@pytest.mark.parametrize("text", ["seconds,Mbps\n", "0,2\nseconds,Mbps\n5,0\n", "0,two\n5,0\n"])
def test_words_anywhere_else_are_no_rates(tmp_path, text):
    path = tmp_path / "link.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"link\.csv"):
        read_csv(path)
