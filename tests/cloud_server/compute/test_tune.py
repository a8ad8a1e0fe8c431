"""`cloud-server tune`: it measures, chooses what is clearly faster and finds the same, and says so."""

from __future__ import annotations

import json

import pytest
import torch

from cloud_server.__main__ import main
from cloud_server.compute import bundle_model as detection
from cloud_server.compute import tune
from cloud_server.compute.onnx_module import is_installed
from cloud_server.compute.tune import (
    MAX_RAW_ERROR,
    Measurement,
    TuneConfig,
    candidates,
    choose,
    cuda_candidates,
    has_bfloat16,
    measure,
)
from cloud_server.compute.tuning import Tuning, read_tuning
from splitnet.errors import ConfigError

PLAIN, OTHER = Tuning(threads=2), Tuning(threads=2, channels_last=True)


def test_the_plain_candidate_comes_first():
    assert candidates(4, False, False)[0] == Tuning(threads=4)
    assert [one.threads for one in candidates(4, False, False)] == [4, 4, 2, 2, 1, 1]
    assert len(candidates(1, False, False)) == 2


def test_what_the_machine_has_is_tried():
    assert Tuning(threads=2, onnxruntime=True) in candidates(2, True, False)
    assert Tuning(threads=1, channels_last=True, bfloat16=True) in candidates(2, False, True)
    assert len(set(candidates(2, True, True))) == 2 * 4


def test_on_a_gpu_all_combinations_are_tried_and_plain_first():
    tried = cuda_candidates()
    assert tried[0] == Tuning() and len(set(tried)) == 16
    assert Tuning(half_precision=True, channels_last=True, cuda_graphs=True, pinned_memory=True) in tried


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("flags : fpu avx512f avx512_bf16", True),
        ("flags : amx_bf16 amx_tile", True),
        ("Features : asimd bf16", True),
        ("flags : fpu avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_bfloat16_is_read_from_the_processors_flags(flags, has):
    assert has_bfloat16(flags) is has


@pytest.mark.parametrize(
    ("ms_per_frame", "error", "chosen"),
    [(8.0, 0.0, OTHER), (9.9, 0.0, PLAIN), (12.0, 0.0, PLAIN), (5.0, 0.1, PLAIN)],
    ids=["faster", "hardly faster", "slower", "wrong"],
)
def test_a_candidate_is_chosen_if_it_is_clearly_faster_and_right(ms_per_frame, error, chosen):
    assert choose([Measurement(PLAIN, 10.0, 0.0), Measurement(OTHER, ms_per_frame, error)]) == chosen


def test_a_wider_tolerance_lets_more_through():
    rough = Measurement(OTHER, 5.0, 0.01)
    assert choose([Measurement(PLAIN, 10.0, 0.0), rough]) == PLAIN
    assert choose([Measurement(PLAIN, 10.0, 0.0), rough], max_error=0.02) == OTHER


def test_all_candidates_find_the_same(tiny_bundle):
    before = torch.get_num_threads()
    config = TuneConfig(bundle=tiny_bundle, batch_size=2, rounds=1)
    tried = candidates(1, is_installed(), False)
    measured = measure(config, tried, torch.device("cpu"))
    assert [one.tuning for one in measured] == tried
    assert measured[0].error == 0.0
    assert all(one.error < MAX_RAW_ERROR and one.ms_per_frame > 0 for one in measured)
    assert torch.get_num_threads() == before


def test_what_cannot_run_here_is_left_out(tiny_bundle, monkeypatch):
    def fail(*_):
        raise ConfigError("no such runtime")

    monkeypatch.setattr(detection, "OnnxModule", fail)
    config = TuneConfig(bundle=tiny_bundle, batch_size=1, rounds=1)
    plain, odd = Tuning(threads=1), Tuning(threads=1, onnxruntime=True)
    assert [one.tuning for one in measure(config, [plain, odd], torch.device("cpu"))] == [plain]
    with pytest.raises(ConfigError, match="not even the plain way"):
        measure(config, [odd, plain], torch.device("cpu"))


def test_the_command_writes_what_serve_reads(tiny_bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune, "is_installed", lambda: False)  # seconds to export, and tried above
    out = tmp_path / "tuning.json"
    words = ["tune", "--bundle", str(tiny_bundle), "--out", str(out), "--device", "cpu"]
    assert main([*words, "--batch-size", "1", "--rounds", "1"]) == 0
    assert read_tuning(out).threads >= 1
    assert json.loads(out.read_text()).keys() >= {"choice", "measured", "commit", "machine"}
    printed = capsys.readouterr().out
    assert f"serve --tuning {out}" in printed and "1 thread, plain" in printed


@pytest.mark.parametrize(("setting", "value"), [("batch_size", 0), ("rounds", 0), ("max_error", 1.1)])
def test_a_setting_out_of_range_is_refused(setting, value):
    with pytest.raises(ConfigError):
        TuneConfig(**{setting: value})
