"""The table of `benchmarks frigate`."""

from __future__ import annotations

from benchmarks.serving.frigate import PHASES, SHARES, _Phase
from benchmarks.serving.frigate_tables import frigate


def test_a_row_counts_who_has_answered_and_in_time():
    phase = _Phase("silent", took_ms=[20.0, 40.0, 210.0], by=["server", "rescue", "nobody"])
    assert phase.row(200) == {
        "phase": "silent",
        "requests": 3,
        "in_time": 2,
        "by_server": 1,
        "by_device": 0,
        "by_rescue": 1,
        "by_nobody": 1,
        "ms_p50": 40.0,
        "ms_p99": 206.6,
        "ms_max": 210.0,
    }


def test_the_phases_share_all_requests():
    assert len(PHASES) == len(SHARES)
    assert abs(sum(SHARES) - 1) < 1e-9


def test_the_table_has_a_row_for_each_phase_and_the_most_used_points():
    row = _Phase("silent", took_ms=[20.0], by=["device"]).row(200)
    points = [
        {"point": name, "frames": n, "kilobytes_mean": n / 2} for n, name in enumerate(("local", "w1", "w2", "w3"))
    ]
    result = {"phases": [row], "points": points, "in_time": 999, "requests": 1000, "timeout_ms": 200, "restarts": 1}
    text = frigate({**result, "own_ms_p50": 1.75, "own_ms_p99": 10.0, "tensor_bytes": 519168})
    assert "| silent | 1 | 1 | 0 | 1 | 0 | 0 | 20 | 20 | 20 |" in text
    assert "999 of 1,000 requests" in text and "3 by `w3` of 1.5 KB, 2 by `w2` of 1.0 KB." in text
