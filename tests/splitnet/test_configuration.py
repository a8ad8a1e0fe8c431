"""Settings from a file, from the environment and from the command line, by one definition."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

import cloud_server.__main__
import edge_client.__main__
from cloud_server.config import ServeConfig
from edge_client.config import RunConfig
from splitnet.config_check import check_config, template
from splitnet.configuration import add_configurable, read_configured, tomllib
from splitnet.errors import ConfigError
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.settings import option, share


@dataclass(frozen=True)
class Settings:
    source: str = option("what to read", default="", required=True)
    deadline_ms: float = option("the latest", default=0.0)
    threads: int = option("CPU threads", default=1)
    loss: float = option("a share", default=0.5, type=share)
    mode: str | None = option("how", default=None, choices=("split", "image"))
    server: Sequence[str] | None = option("where to", default=None, action="append")
    view: bool = option("show it", default=False)
    no_tune: bool = option("measure nothing", default=False)
    out: Path | None = option("where to write", default=None)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError("--threads must be positive")


SECTIONS = {"run": Settings}


def read(*words: str, environ: dict[str, str] | None = None) -> Settings:
    parser = argparse.ArgumentParser()
    add_configurable(parser, Settings)
    found = read_configured("run", SECTIONS, parser.parse_args(words), environ or {})
    assert isinstance(found, Settings)
    return found


@pytest.fixture
def written(tmp_path):
    def write(text: str) -> str:
        (tmp_path / "own.toml").write_text(text, encoding="utf-8")
        return str(tmp_path / "own.toml")

    return write


def problems_of(text: str, written, environ: dict[str, str] | None = None) -> list[str]:
    path = written(text)
    return [one.replace(f"{path}, ", "") for one in check_config(Path(path), SECTIONS, environ or {}).problems]


def test_every_kind_of_value_is_read_from_a_file(written):
    path = written(
        '[run]\nsource = "a.mp4"\ndeadline_ms = 200\nthreads = 2\nloss = 0.25\nmode = "image"\n'
        'server = ["near:1", "far:2"]\nview = true\nout = "x.jsonl"\n'
    )
    assert read("--config", path) == Settings(
        "a.mp4", 200.0, 2, 0.25, "image", ["near:1", "far:2"], True, False, Path("x.jsonl")
    )


def test_every_kind_of_value_is_read_from_the_environment():
    names = {"SOURCE": "a", "DEADLINE_MS": "200", "THREADS": "2", "MODE": "image", "SERVER": "n:1, f:2", "VIEW": "yes"}
    found = read(environ={f"SLIMSPLIT_{name}": value for name, value in names.items()})
    assert found == Settings("a", 200.0, 2, mode="image", server=["n:1", "f:2"], view=True)


def test_flags_win_over_variables_and_those_over_the_file(written):
    path = written('[run]\nsource = "file"\nthreads = 2\ndeadline_ms = 2\nview = true\n')
    environ = {"SLIMSPLIT_THREADS": "3", "SLIMSPLIT_DEADLINE_MS": "3", "SLIMSPLIT_CONFIG": path}
    assert read("--deadline-ms", "4", "--no-view", environ=environ) == Settings("file", 4.0, 3)


def test_a_flag_that_forbids_can_be_taken_back(written):
    path = written('[run]\nsource = "file"\nno_tune = true\n')
    assert read("--config", path).no_tune
    assert not read("--config", path, "--tune").no_tune


def test_a_typo_is_named_with_its_line_and_the_nearest_setting(written):
    assert problems_of('[run]\nsource = "a"\nsevrer = "x:1"\n', written) == [
        "line 3: [run] has no setting 'sevrer'; did you mean server?"
    ]
    assert problems_of("[rum]\nthreads = 2\n", written) == ["line 1: there is no table [rum]; did you mean run?"]
    assert problems_of("threads = 2\n", written) == ["line 1: 'threads' stands outside of a table: put it below [run]"]


def test_every_problem_is_told_at_once(written):
    text = '[run]\nsource = 3\nthreads = "4"\ndeadline_ms = nan\nmode = "splt"\nview = 1\nloss = 1.5\nserver = [5]\n'
    assert problems_of(text, written) == [
        "line 2: source must be text, not 3",
        "line 3: threads must be a whole number, not '4'",
        "line 4: deadline_ms must be a number with a bound, not nan",
        "line 5: mode must be one of split, image, not 'splt'",
        "line 6: view must be true or false, not 1",
        "line 7: loss is not valid: '1.5' is not a number from 0 to below 1",
        "line 8: server must be text, not 5",
        "--source is missing: give it, or source in the table [run] of --config FILE, or SLIMSPLIT_SOURCE",
    ]


def test_a_value_out_of_range_is_refused_by_the_settings_own_rule(written):
    assert problems_of('[run]\nsource = "a"\nthreads = 0\n', written) == ["[run] --threads must be positive"]


def test_a_whole_number_is_not_a_truth_value(written):
    assert problems_of('[run]\nsource = "a"\nthreads = true\n', written) == [
        "line 3: threads must be a whole number, not True"
    ]


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("SLIMSPLIT_THREADS", "many", "SLIMSPLIT_THREADS must be a whole number, not 'many'"),
        ("SLIMSPLIT_VIEW", "maybe", "SLIMSPLIT_VIEW must be true or false, not 'maybe'"),
        ("SLIMSPLIT_DEADLINE_MS", "inf", "SLIMSPLIT_DEADLINE_MS is not valid: 'inf' is not a number"),
        ("SLIMSPLIT_THREADSS", "2", "SLIMSPLIT_THREADSS is no setting; did you mean SLIMSPLIT_THREADS?"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(variable, value, problem):
    with pytest.raises(ConfigError) as caught:
        read("--source", "a", environ={variable: value})
    assert str(caught.value) == problem


def test_variables_of_the_other_program_are_left_alone():
    assert read("--source", "a", environ={"SLIMSPLIT_MAX_QUEUE": "5"}) == Settings("a")


def test_a_password_in_a_value_is_not_shown(written):
    path = written('[run]\nsource = "rtsp://me:secret@camera/1"\n')
    shown = check_config(Path(path), SECTIONS, {})
    assert "secret" not in shown.to_text() + json.dumps(shown.to_json())


@pytest.mark.parametrize("content", [b"[run\n", b"\xff\xfe", b"x = [" + b"[" * 5000, b"a = 1\na = 2\n"])
def test_what_is_not_toml_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "own.toml"
    path.write_bytes(content)
    (problem,) = check_config(path, SECTIONS, {}).problems
    assert problem.startswith(f"{path} is not TOML: ") and "\n" not in problem


def test_a_pipe_a_folder_and_an_endless_file_are_no_files_of_settings(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"#" * 1_000_001)
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "large", tmp_path / "none"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read("--config", str(path))


@pytest.mark.parametrize("config", [ServeConfig, RunConfig])
def test_the_template_is_toml_and_names_every_setting(config):
    text = template({"own": config})
    assert tomllib.loads(text) == {"own": {}}
    own = config.__dataclass_fields__.keys() - OutputsConfig.__dataclass_fields__.keys()  # of a table of their own
    assert all(f"\n# {name} =" in text for name in own)


def test_a_template_with_its_entries_uncommented_says_the_defaults(tmp_path):
    path = tmp_path / "all.toml"
    lines = template({"serve": ServeConfig}).splitlines()
    known = [line.removeprefix("# ") for line in lines if line.startswith("# ") and " = " in line]
    entries = [line for line in known if line.split()[0] in ServeConfig.__dataclass_fields__]
    path.write_text("\n".join(["[serve]", *entries]))
    checked = check_config(path, {"serve": ServeConfig}, {})
    assert checked.problems == []
    values = {name: one.value for name, one in checked.settings["serve"].items()}
    assert ServeConfig(**values) == ServeConfig()


@pytest.mark.parametrize(
    ("main", "table", "typo", "right"),
    [
        (cloud_server.__main__.main, "serve", "max_queu = 5", "max_queue = 5"),
        (edge_client.__main__.main, "run", 'sourc = "0"', 'source = "0"\nserver = "a:1"'),
    ],
)
def test_both_programs_check_a_file(main, table, typo, right, written, capsys):
    assert main(["check", written(f"[{table}]\n{typo}\n")]) == 2
    assert "line 2" in capsys.readouterr().err
    assert main(["check", written(f"[{table}]\n{right}\n")]) == 0
    assert "own.toml" in capsys.readouterr().out


def test_the_daemon_refuses_a_wrong_file_before_it_loads_anything(written, capsys):
    assert cloud_server.__main__.main(["models", "--json", str(Path(__file__).parent / "none")]) == 2
    assert cloud_server.__main__.main(["tune", "--config", written("[tune]\nrouns = 1\n")]) == 2
    assert "did you mean rounds?" in capsys.readouterr().err
