"""A tuning: `serve` reads what `tune` writes, and nothing else."""

from __future__ import annotations

import json

import pytest

from cloud_server.compute.tuning import Tuning, in_words, read_tuning, write_tuning
from splitnet.errors import ConfigError
from splitnet.operating_point import Mode


def test_a_choice_comes_back_as_it_was_written(tmp_path):
    tuning = Tuning(threads=3, channels_last=True, pinned_memory=True)
    write_tuning(tmp_path / "tuning.json", tuning, {"machine": "this one"})
    assert read_tuning(tmp_path / "tuning.json") == tuning
    assert json.loads((tmp_path / "tuning.json").read_text())["machine"] == "this one"


def test_a_choice_of_fewer_settings_leaves_the_others_as_they_are(tmp_path):
    path = tmp_path / "tuning.json"
    path.write_text('{"format_version": 1, "choice": {"threads": 2}}')
    assert read_tuning(path) == Tuning(threads=2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format_version": 2, "choice": {}}',
        '{"format_version": 1, "choice": []}',
        '{"format_version": 1, "choice": {"threads": "2"}}',
        '{"format_version": 1, "choice": {"threads": true}}',
        '{"format_version": 1, "choice": {"threads": -1}}',
        '{"format_version": 1, "choice": {"warp": true}}',
        '{"format_version": 1, "choice": {"onnxruntime": true, "channels_last": true}}',
    ],
)
def test_what_is_no_tuning_is_refused(tmp_path, text):
    path = tmp_path / "tuning.json"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_tuning(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tuning(tmp_path / "nothing.json")


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be written"):
        write_tuning(tmp_path / "nowhere" / "tuning.json", Tuning(), {})


def test_only_features_are_computed_in_bfloat16():
    both = Tuning(threads=2, channels_last=True, bfloat16=True, onnxruntime=True)
    assert both.of_mode(Mode.SPLIT) == Tuning(threads=2, channels_last=True, bfloat16=True)
    assert both.of_mode(Mode.IMAGE) == Tuning(threads=2, onnxruntime=True)
    alone = Tuning(channels_last=True, bfloat16=True)
    assert alone.of_mode(Mode.SPLIT) == alone
    assert alone.of_mode(Mode.IMAGE) == Tuning(channels_last=True)
    other = Tuning(channels_last=True)
    assert [other.of_mode(mode) for mode in (Mode.SPLIT, Mode.IMAGE)] == [other, other]


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        (Tuning(), "threads as they come, plain"),
        (Tuning(threads=1), "1 thread, plain"),
        (Tuning(threads=2, channels_last=True, bfloat16=True), "2 threads, channels last, bfloat16"),
    ],
)
def test_a_choice_can_be_said(tuning, words):
    assert in_words(tuning) == words
