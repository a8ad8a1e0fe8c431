import json

import pytest

from benchmarks.__main__ import main
from benchmarks.costs.switch import switch_price

FIGURES = {"switch_ms_p50", "lookup_ms_p50", "reload_ms_p50"}


def test_a_change_costs_what_frames_after_another_point_take_longer():
    assert switch_price([20.5, 20.0, 7.25, 7.0]) == pytest.approx(0.375)


def test_a_machine_that_slows_down_steadily_makes_no_difference():
    assert switch_price([10.0, 11.0, 12.0, 13.0]) == pytest.approx(-1.0)
    assert switch_price([10.0, 11.0, 12.0, 13.0]) + switch_price([13.0, 12.0, 11.0, 10.0]) == pytest.approx(0.0)


def test_switch_writes_what_it_prints(tmp_path, tiny_bundle, capsys):
    out = tmp_path / "switch.json"
    arguments = ["switch", "--bundle", str(tiny_bundle), "--repeats", "3", "--reloads", "1", "--out", str(out)]
    assert main(arguments) == 0
    result = json.loads(out.read_text())
    assert result.keys() >= FIGURES | {"bundle", "canvas", "changes", "commit", "machine"}
    changes = {row["change"]: row for row in result["changes"]}
    assert changes.keys() == {"both", "width", "quality", "look-up"}
    assert changes["both"]["points"] == "w4 q2 / w1 q0"
    assert result["switch_ms_p50"] == changes["both"]["switch_ms_p50"]
    assert result["lookup_ms_p50"] == changes["look-up"]["switch_ms_p50"]
    assert all(row["switch_ms_p25"] <= row["switch_ms_p50"] <= row["switch_ms_p75"] for row in changes.values())
    assert result["reload_ms_p50"] > 0
    assert "switch_ms_p50" in capsys.readouterr().out


def test_switch_without_a_bundle_is_an_error_on_one_line(tmp_path, capsys):
    assert main(["switch", "--bundle", str(tmp_path / "nothing")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is not a bundle" in line


@pytest.mark.parametrize("words", [("--repeats", "1"), ("--reloads", "0")], ids=" ".join)
def test_too_few_measurements_are_refused(words, tiny_bundle, capsys):
    assert main(["switch", "--bundle", str(tiny_bundle), *words]) == 2
    assert words[0] in capsys.readouterr().err
