"""The way a bundle is computed: the operator's, the one kept for this machine, or one that is measured."""

from __future__ import annotations

import pytest
import torch

from cloud_server import tunings as module
from cloud_server.compute.tuning import UNMEASURED, TuneConfig, Tuning, write_tuning
from cloud_server.config import ServeConfig
from cloud_server.tunings import Tunings
from splitnet.errors import ConfigError
from tests.support.tiny_bundle import write_tiny_bundle

CPU = torch.device("cpu")
FOUND = Tuning(threads=2, onnxruntime=True)


@pytest.fixture
def asked(monkeypatch) -> list[TuneConfig]:
    """Let a measurement find FOUND at once; returns what was asked for."""
    wanted: list[TuneConfig] = []

    def tune(config: TuneConfig):
        wanted.append(config)
        return FOUND, {"bundle_name": "tiny"}

    monkeypatch.setattr(module, "tune", tune)
    return wanted


def test_a_bundle_is_measured_once_on_a_machine(tiny_bundle, tmp_path, asked):
    for _ in range(2):
        assert Tunings(ServeConfig(), CPU, tmp_path / "kept").of(tiny_bundle) == FOUND
    assert [config.bundle for config in asked] == [tiny_bundle]
    assert len(list((tmp_path / "kept").glob("*.json"))) == 1 == len(list((tmp_path / "kept").iterdir()))


def test_another_bundle_or_number_of_threads_is_measured_for_itself(tiny_bundle, tmp_path, asked):
    write_tiny_bundle(tmp_path / "other", seed=1)
    Tunings(ServeConfig(), CPU, tmp_path).of(tiny_bundle)
    Tunings(ServeConfig(), CPU, tmp_path).of(tmp_path / "other")
    assert Tunings(ServeConfig(threads=1), CPU, tmp_path).of(tiny_bundle) == Tuning(threads=1, onnxruntime=True)
    assert [config.threads for config in asked] == [0, 0, 1]


def test_an_update_of_a_library_is_a_reason_to_measure_again(tiny_bundle, tmp_path, asked, monkeypatch):
    Tunings(ServeConfig(), CPU, tmp_path).of(tiny_bundle)
    monkeypatch.setattr(module, "_version", lambda _: "next year's")
    Tunings(ServeConfig(), CPU, tmp_path).of(tiny_bundle)
    assert len(asked) == 2


def test_the_operators_file_wins_and_so_do_threads(tiny_bundle, tmp_path, asked):
    write_tuning(tmp_path / "tuning.json", Tuning(threads=3, channels_last=True), {})
    given = ServeConfig(tuning=tmp_path / "tuning.json")
    assert Tunings(given, CPU, tmp_path).of(tiny_bundle) == Tuning(threads=3, channels_last=True)
    with_threads = ServeConfig(tuning=tmp_path / "tuning.json", threads=1)
    assert Tunings(with_threads, CPU, tmp_path).of(tiny_bundle) == Tuning(threads=1, channels_last=True)
    assert asked == []
    with pytest.raises(ConfigError, match="cannot be read"):
        Tunings(ServeConfig(tuning=tmp_path / "nowhere"), CPU, tmp_path)


def test_nothing_is_measured_for_who_does_not_want_it(tiny_bundle, tmp_path, asked):
    assert Tunings(ServeConfig(no_tune=True), CPU, tmp_path).of(tiny_bundle) == UNMEASURED
    assert asked == []


@pytest.mark.parametrize(
    ("first", "then"), [(FOUND, FOUND), (Tuning(bfloat16=True), UNMEASURED), (Tuning(half_precision=True), UNMEASURED)]
)
def test_while_frames_flow_a_new_bundle_takes_an_exact_way(tmp_path, tiny_bundle, monkeypatch, first, then):
    monkeypatch.setattr(module, "tune", lambda _: (first, {"bundle_name": "tiny"}))
    tunings = Tunings(ServeConfig(), CPU, tmp_path)
    assert tunings.of(tiny_bundle) == first
    tunings.may_measure = False
    write_tiny_bundle(tmp_path / "other", seed=1)
    assert tunings.of(tmp_path / "other") == then
    assert tunings.of(tiny_bundle) == first


def test_a_cache_that_cannot_be_written_is_a_warning(tiny_bundle, tmp_path, asked, caplog):
    (tmp_path / "file").write_text("")
    assert Tunings(ServeConfig(), CPU, tmp_path / "file" / "kept").of(tiny_bundle) == FOUND
    assert "measured again at the next start" in caplog.text


def test_a_damaged_entry_is_measured_anew(tiny_bundle, tmp_path, asked):
    Tunings(ServeConfig(), CPU, tmp_path).of(tiny_bundle)
    (entry,) = tmp_path.glob("*.json")
    entry.write_text("{")
    assert Tunings(ServeConfig(), CPU, tmp_path).of(tiny_bundle) == FOUND
    assert len(asked) == 2


def test_what_a_measurement_finds_is_taken_up(tiny_bundle, tmp_path, monkeypatch, keep_threads):
    monkeypatch.setattr("cloud_server.compute.tune.is_installed", lambda: False)  # it takes seconds to export
    config = ServeConfig(threads=1)
    found = Tunings(config, CPU, tmp_path).of(tiny_bundle)
    assert found.threads == 1 and not found.onnxruntime
    assert Tunings(config, CPU, tmp_path).of(tiny_bundle) == found


def test_small_memory_leaves_onnx_runtime_out_whatever_was_measured(tiny_bundle, tmp_path, asked):
    found = Tunings(ServeConfig(small_memory=True), CPU, tmp_path).of(tiny_bundle)
    assert found == Tuning(threads=2, channels_last=True)
    assert len(asked) == 1
