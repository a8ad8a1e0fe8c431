"""`cloud-server tune`: it measures, chooses what is clearly faster and finds the same, and says so."""

from __future__ import annotations

import json

import cv2
import pytest
import torch

from cloud_server.__main__ import main
from cloud_server.compute import bundle_model, tune
from cloud_server.compute.onnx_module import is_installed
from cloud_server.compute.samples import samples
from cloud_server.compute.tune import (
    Measurement,
    Trial,
    choose,
    cpu_ways,
    cuda_ways,
    has_bfloat16,
    thread_counts,
)
from cloud_server.compute.tuning import TuneConfig, Tuning, read_tuning
from splitnet.errors import ConfigError
from splitnet.operating_point import Mode

CPU = torch.device("cpu")
SETTINGS_OUT_OF_RANGE = [
    ("batch_size", 0),
    ("rounds", 0),
    ("max_error", 1.1),
    ("min_fidelity", -0.1),
    ("max_images", 0),
    ("threads", -1),
    ("max_seconds", -1.0),
]
PLAIN, OTHER = Tuning(threads=2), Tuning(threads=2, channels_last=True)


def test_the_plain_way_comes_first():
    assert cpu_ways(4, False, False) == [Tuning(threads=4), Tuning(threads=4, channels_last=True)]
    assert thread_counts(4) == [4, 2, 1] and thread_counts(1) == [1]


def test_what_the_machine_has_is_tried():
    assert Tuning(threads=2, onnxruntime=True) in cpu_ways(2, True, False)
    assert Tuning(threads=1, channels_last=True, bfloat16=True) in cpu_ways(1, False, True)
    assert Tuning(threads=1, channels_last=True, bfloat16=True, onnxruntime=True) in cpu_ways(1, True, True)
    assert len(set(cpu_ways(2, True, True))) == 4


def test_on_a_gpu_one_thing_after_the_other_is_added():
    tried = cuda_ways()
    assert tried[0] == Tuning() and len(set(tried)) == 6
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
    ("ms_per_frame", "fidelity", "error", "chosen"),
    [
        (8.0, 1.0, 0.0, OTHER),
        (8.0, 0.995, 0.5, OTHER),
        (9.9, 1.0, 0.0, PLAIN),
        (12.0, 1.0, 0.0, PLAIN),
        (5.0, 0.99, 0.0, PLAIN),
    ],
    ids=["faster", "other numbers, same detections", "hardly faster", "slower", "other detections"],
)
def test_a_candidate_is_chosen_if_it_is_clearly_faster_and_finds_the_same(ms_per_frame, fidelity, error, chosen):
    measured = [Measurement(PLAIN, 10.0, 1.0, 0.0), Measurement(OTHER, ms_per_frame, fidelity, error)]
    assert choose(measured, TuneConfig()).tuning == chosen


def test_tolerances_are_the_users():
    measured = [Measurement(PLAIN, 10.0, 1.0, 0.0), Measurement(OTHER, 5.0, 0.99, 0.01)]
    assert choose(measured, TuneConfig(min_fidelity=0.98)).tuning == OTHER
    assert choose(measured, TuneConfig(min_fidelity=0.98, max_error=1e-3)).tuning == PLAIN


def test_all_exact_candidates_find_the_same(tiny_bundle, keep_threads):
    trial = Trial(TuneConfig(bundle=tiny_bundle, batch_size=2, rounds=1), CPU)
    tried = cpu_ways(1, is_installed(), False)
    measured = trial.measure(tried)
    assert [one.tuning for one in measured] == tried
    assert measured[0].error == 0.0
    assert all(one.fidelity == 1.0 and one.error < 1e-3 and one.ms_per_frame > 0 for one in measured)
    varied = trial.vary_threads(measured[1], [2, 1])
    assert [one.tuning for one in varied] == [Tuning(threads=count, channels_last=True) for count in (2, 1)]


def test_one_round_is_enough_where_time_is_up(tiny_bundle, monkeypatch, keep_threads):
    runs = []
    monkeypatch.setattr(tune, "_seconds", lambda model, batch: runs.append(model.tuning) or 1.0)
    trial = Trial(TuneConfig(bundle=tiny_bundle, batch_size=2, rounds=1000, max_seconds=0.0), CPU)
    measured = trial.measure(cpu_ways(1, False, False))
    assert runs == [one.tuning for one in measured] and [one.ms_per_frame for one in measured] == [500.0, 500.0]


def test_what_cannot_run_here_is_left_out(tiny_bundle, monkeypatch, keep_threads):
    def fail(*_):
        raise ConfigError("no such runtime")

    monkeypatch.setattr(bundle_model, "exported", fail)
    trial = Trial(TuneConfig(bundle=tiny_bundle, batch_size=1, rounds=1), CPU)
    plain, odd = Tuning(threads=1), Tuning(threads=1, onnxruntime=True)
    assert [one.tuning for one in trial.measure([plain, odd])] == [plain]
    with pytest.raises(ConfigError, match="not even the plain way"):
        trial.measure([odd, plain])


def test_bundles_are_judged_by_the_users_own_images(tiny_bundle, photo, tmp_path):
    for name, image in (("2.jpg", photo), ("10.png", photo[:100]), ("11.jpg", photo)):
        cv2.imwrite(str(tmp_path / name), image)
    (tmp_path / "1.jpg").write_bytes(b"no image")
    frames = samples(tiny_bundle, tmp_path, most=2)
    for mode in (Mode.SPLIT, Mode.IMAGE):
        assert [one.letterbox.frame_height for one in frames[mode]] == [480, 100]
    with pytest.raises(ConfigError, match="holds no image that can be read"):
        samples(tiny_bundle, tmp_path / "nowhere", most=2)


def test_the_command_writes_what_serve_reads(tiny_bundle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune, "is_installed", lambda: False)  # seconds to export, and tried above
    monkeypatch.setattr(tune, "usable_cores", lambda: 1)
    out = tmp_path / "tuning.json"
    words = ["tune", "--bundle", str(tiny_bundle), "--out", str(out), "--device", "cpu"]
    assert main([*words, "--batch-size", "1", "--rounds", "1"]) == 0
    assert read_tuning(out).threads >= 1
    assert json.loads(out.read_text()).keys() >= {"choice", "measured", "commit", "machine"}
    printed = capsys.readouterr().out
    assert f"serve --tuning {out}" in printed and "1 thread, plain" in printed and "fidelity 100.00 %" in printed


@pytest.mark.parametrize(("setting", "value"), SETTINGS_OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused(setting, value):
    with pytest.raises(ConfigError):
        TuneConfig(**{setting: value})
