"""`cloud-server tune`: it measures, chooses what is clearly faster and finds the same, and says so."""

from __future__ import annotations

import json

import pytest
import torch

from cloud_server.__main__ import main
from cloud_server.tune import MAX_RAW_ERROR, Measurement, TuneConfig, candidates, choose, measure
from cloud_server.tuning import Tuning, read_tuning
from splitnet.errors import ConfigError

PLAIN, OTHER = Tuning(threads=2), Tuning(threads=2, channels_last=True)


def test_the_plain_candidate_comes_first():
    assert candidates(4)[0] == Tuning(threads=4)
    assert [one.threads for one in candidates(4)] == [4, 4, 2, 2, 1, 1]
    assert len(candidates(1)) == 2


@pytest.mark.parametrize(
    ("ms_per_frame", "error", "chosen"),
    [(8.0, 0.0, OTHER), (9.9, 0.0, PLAIN), (12.0, 0.0, PLAIN), (5.0, 0.1, PLAIN)],
    ids=["faster", "hardly faster", "slower", "wrong"],
)
def test_a_candidate_is_chosen_if_it_is_clearly_faster_and_right(ms_per_frame, error, chosen):
    assert choose([Measurement(PLAIN, 10.0, 0.0), Measurement(OTHER, ms_per_frame, error)]) == chosen


def test_all_candidates_find_the_same(tiny_bundle):
    before = torch.get_num_threads()
    config = TuneConfig(bundle=tiny_bundle, batch_size=2, rounds=1)
    measured = measure(config, candidates(2), torch.device("cpu"))
    assert measured[0].error == 0.0
    assert all(one.error < MAX_RAW_ERROR and one.ms_per_frame > 0 for one in measured)
    assert torch.get_num_threads() == before


def test_the_command_writes_what_serve_reads(tiny_bundle, tmp_path, capsys):
    out = tmp_path / "tuning.json"
    words = ["tune", "--bundle", str(tiny_bundle), "--out", str(out), "--device", "cpu"]
    assert main([*words, "--batch-size", "1", "--rounds", "1"]) == 0
    assert read_tuning(out).threads >= 1
    assert json.loads(out.read_text()).keys() >= {"choice", "measured", "commit", "machine"}
    assert f"serve --tuning {out}" in capsys.readouterr().out


@pytest.mark.parametrize("setting", ["batch_size", "rounds"])
def test_a_setting_out_of_range_is_refused(setting):
    with pytest.raises(ConfigError):
        TuneConfig(**{setting: 0})
