"""The command line: what it takes, what it says, how it exits."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge_client.__main__ import main
from edge_client.config import RunConfig
from edge_client.profile_config import ProfileConfig
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec, OperatingPoint

PROJECT = Path(__file__).resolve().parents[2]
NOWHERE = ["--server", "127.0.0.1:1"]


@pytest.fixture(autouse=True)
def _restore_logging():
    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def pictures(tmp_path, photo):
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.jpg"), photo)
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--server", "nonsense", "--source", "{pictures}"], 2, "HOST:PORT"),
        ([*NOWHERE, "--source", "/nowhere"], 1, "no such file or folder"),
        ([*NOWHERE, "--source", "{empty}"], 1, "no images in this folder"),
        ([*NOWHERE, "--source", "{pictures}", "--bundle", "{empty}"], 2, "not a bundle"),
        ([*NOWHERE, "--source", "{pictures}", "--bundle", "{tiny}", "--width", "9"], 2, "widths 1..4"),
        ([*NOWHERE, "--source", "{pictures}", "--mode", "split", "--codec", "jpeg"], 2, "does not belong"),
        ([*NOWHERE, "--source", "{pictures}", "--schedule", "w4"], 2, "not an operating point"),
        ([*NOWHERE, "--source", "{pictures}", "--threads", "0"], 2, "must be positive"),
        ([*NOWHERE, "--source", "{pictures}", "--deadline-ms", "-1"], 2, "cannot be negative"),
        ([*NOWHERE, "--source", "{pictures}", "--max-frames", "-1"], 2, "cannot be negative"),
        (["--source", "{pictures}"], 2, "give --server HOST:PORT"),
        ([*NOWHERE, "--source", "{pictures}", "--mode", "auto", "--width", "2"], 2, "leaves no operating point to fix"),
        ([*NOWHERE, "--source", "{pictures}", "--bundle", "{tiny}", "--mode", "auto"], 2, "needs --deadline-ms"),
        (
            [*NOWHERE, "--source", "{pictures}", "--bundle", "{tiny}", "--mode", "auto", "--deadline-ms", "200"],
            2,
            "training evaluate",
        ),
        ([*NOWHERE, "--source", "{pictures}", "--bundle", "{tiny}", "--max-kbps", "500"], 2, "--deadline-ms as well"),
        (["--source", "{pictures}", "--bundle", "{alone}", "--mode", "local"], 2, "copy detector.safetensors"),
        ([*NOWHERE, "--source", "{pictures}", "--bundle", "{tiny}", "--out", "/nowhere/x"], 2, "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments, code, message, pictures, tiny_bundle, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    alone = tmp_path / "alone"  # a device that has not been given the detector
    alone.mkdir()
    for name in ("manifest.json", "encoder.safetensors"):
        (alone / name).write_bytes((tiny_bundle / name).read_bytes())
    filled = [a.format(pictures=pictures, empty=empty, tiny=tiny_bundle, alone=alone) for a in arguments]
    assert main(["run", *filled]) == code
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("edge-client: ")
    assert printed.err.count("\n") == 1
    assert printed.out == ""


@pytest.mark.parametrize(
    "limit", ["deadline_ms", "min_fps", "max_kbps", "fps", "camera_patience_s", "answer_timeout_s"]
)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_program_cannot_give_what_is_no_number(limit, value):
    with pytest.raises(ConfigError):
        RunConfig(server="h:1", source="0", **{limit: value})


def test_the_usual_point_is_full_width_and_middle_quality():
    config = RunConfig(server="h:1", source="0")
    assert config.point(widths=4, qualities=5) == OperatingPoint(Codec.RANS, 4, 2)


def test_several_servers_are_given_one_by_one(pictures, capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "may be given several times" in " ".join(capsys.readouterr().out.split())
    assert main(["run", "--server", "a:1,b:2", "--source", str(pictures)]) == 2
    assert "several as several --server" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "point"),
    [
        ({"width": 2, "quality": 0}, OperatingPoint(Codec.RANS, 2, 0)),
        ({"codec": "zstd"}, OperatingPoint(Codec.ZSTD, 4, 2)),
        ({"mode": "image"}, OperatingPoint(Codec.JPEG, 0, 50)),
        ({"codec": "webp", "quality": 7}, OperatingPoint(Codec.WEBP, 0, 7)),
    ],
)
def test_options_choose_the_point(given, point):
    assert RunConfig(server="h:1", source="0", **given).point(4, 5) == point


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"seconds": 0.0}, {"threads": 0}, {"fps": -1.0}])
def test_settings_of_the_profile_are_checked(wrong):
    with pytest.raises(ConfigError):
        ProfileConfig(**wrong)


def test_the_profile_is_printed_kept_and_written(tiny_bundle, pictures, tmp_path, capsys):
    out = tmp_path / "profile.json"
    arguments = ["profile", "--bundle", tiny_bundle, "--frames", 2, "--source", pictures, "--out", out]
    assert main([str(argument) for argument in arguments]) == 0
    assert [found["point"] for found in json.loads(out.read_text())["points"]][-1] == "local"
    (kept,) = (tmp_path / "cache" / "slimsplit" / "profiles").iterdir()
    printed = capsys.readouterr().out
    assert "entropy" in printed
    assert f"kept in {kept}" in printed


def test_each_back_end_has_a_profile_of_its_own(tiny_bundle, pictures, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxruntime")
    out, kept = tmp_path / "profile.json", set()
    for backend in ("onnxruntime", "torch"):
        if backend == "torch":
            monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it had been removed
        arguments = ["profile", "--bundle", tiny_bundle, "--frames", 1, "--source", pictures, "--out", out]
        assert main([str(argument) for argument in arguments]) == 0
        assert f"encoder by {backend}, local detector yolox-nano by {backend}\n" in capsys.readouterr().out
        assert json.loads(out.read_text())["backend"] == backend
        kept |= {path.name for path in (tmp_path / "cache" / "slimsplit" / "profiles").iterdir()}
    assert len(kept) == 2
    assert sum("cpu-onnxruntime" in name for name in kept) == 1


def test_a_device_with_the_detector_needs_no_server(tiny_bundle, pictures, tmp_path, capsys):
    out, trace, told = tmp_path / "out.jsonl", tmp_path / "trace.jsonl", tmp_path / "summary.json"
    files = ["--out", out, "--trace-out", trace, "--json-summary", told]
    arguments = ["run", "--mode", "local", "--source", pictures, "--bundle", tiny_bundle, "--as-fast-as-possible"]
    assert main([str(argument) for argument in [*arguments, *files]]) == 0
    (record,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (record["mode"], record["bytes"], record["server"]["infer_ms"]) == ("local", 0, 0.0)
    (fate,) = [json.loads(line) for line in trace.read_text().splitlines()]
    assert (fate["outcome"], fate["point"], fate["position"]) == ("local", "local", 0)
    run = json.loads(told.read_text())
    assert (run["captured"], run["local"], run["answered"], run["sessions"]) == (1, 1, 0, 0)
    assert "1 of 1 frames" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["run"], ["profile"]])
def test_help_is_given_without_loading_torch(command):
    probe = (
        "import sys; from edge_client.__main__ import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: assert 'torch' not in sys.modules"
    )
    ran = subprocess.run(
        [sys.executable, "-c", probe, *command, "--help"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "usage: edge-client" in ran.stdout


def test_ctrl_c_while_loading_leaves_no_traceback(pictures, tiny_bundle, monkeypatch, capsys):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_client.build.load_encoder", interrupted)
    assert main(["run", *NOWHERE, "--source", str(pictures), "--bundle", str(tiny_bundle)]) == 130
    assert capsys.readouterr().err == ""


def test_the_help_of_run_has_headings_and_examples(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    headings = [line[:-1] for line in shown.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "options",
        "source",
        "servers",
        "what is sent",
        "this device",
        "models from the server",
        "security",
        "output",
        "a group of devices",
        "reports to other programs",
        "examples",
    ]
    assert shown.count("  edge-client run --") == 2


@pytest.mark.parametrize(
    "arguments", [["run", "rtsp://me:s3cr3t@cam"], ["run", "--source=x", "--fps=rtsp://me:s3cr3t@c"]]
)
def test_a_wrong_command_line_is_shown_without_its_passwords(arguments, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert "s3cr3t" not in capsys.readouterr().err


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999"])
def test_a_number_has_a_bound(value, capsys):
    with pytest.raises(SystemExit):
        main(["run", *NOWHERE, "--source", "x", f"--deadline-ms={value}"])
    assert f"argument --deadline-ms: {value!r} is not a number" in capsys.readouterr().err


def local_run(pictures, tiny_bundle, *more) -> list[str]:
    options = ["run", "--mode", "local", "--source", pictures, "--bundle", tiny_bundle, "--as-fast-as-possible", *more]
    return [str(option) for option in options]


def test_an_unreadable_image_makes_the_run_incomplete(tiny_bundle, pictures, capsys):
    (pictures / "b.jpg").write_bytes(b"broken")
    assert main(local_run(pictures, tiny_bundle)) == 3
    assert "1 unreadable image passed over" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_results_that_are_lost_make_the_run_incomplete(tiny_bundle, pictures, caplog):
    assert main(local_run(pictures, tiny_bundle, "--out", "/dev/full")) == 3
    assert main(local_run(pictures, tiny_bundle, "--trace-out", "/dev/full")) == 3
    assert caplog.text.count("the rest is lost, the run goes on: [Errno 28]") == 2


def test_nothing_is_written_over_the_source(tiny_bundle, pictures, capsys):
    assert main(local_run(pictures, tiny_bundle, "--annotate", pictures)) == 2
    assert "is the place of --source" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["caf\udce9", "x" * 129, "two\nlines", ""])
def test_a_device_s_name_is_checked(name, capsys, pictures):
    assert main(["run", *NOWHERE, "--source", str(pictures), "--device-id", name]) == 2
    assert "--device-id is printable text" in capsys.readouterr().err


def test_boxes_are_shown_on_a_page_of_this_machine(tiny_bundle, pictures, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(local_run(pictures, tiny_bundle, "--view", "--view-port", "0", "--min-score", "0.5")) == 0
    assert "frames and boxes: http://127.0.0.1:" in capsys.readouterr().out
