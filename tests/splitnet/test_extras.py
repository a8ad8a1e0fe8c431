"""Packages that come with an extra, when they are there and when they are not."""

from __future__ import annotations

import configparser
import subprocess
import sys

import pytest

import benchmarks.__main__
import training.__main__
from splitnet.extras import EXTRA_OF, missing_extra, progress
from tests.conftest import PROJECT


@pytest.fixture
def without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)


def test_every_extra_is_one_of_the_projects():
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(PROJECT / "setup.cfg")
    assert set(EXTRA_OF.values()) <= set(setup["options.extras_require"])


def test_a_missing_package_is_said_with_its_extra():
    error = ModuleNotFoundError("No module named 'grpc_health.v1'", name="grpc_health.v1")
    assert missing_extra(error) == 'grpc_health is missing; it comes with an extra: pip install ".[server]"'


def test_a_package_of_no_extra_is_an_error_as_it_was():
    error = ModuleNotFoundError("No module named 'splitnet.teeth'", name="splitnet.teeth")
    with pytest.raises(ModuleNotFoundError) as raised:
        missing_extra(error)
    assert raised.value is error


def test_progress_goes_over_the_items(capsys):
    assert list(progress([1, 2], desc="counting")) == [1, 2]
    assert "counting: 100%" in capsys.readouterr().err


@pytest.mark.usefixtures("without_tqdm", "keep_threads")
@pytest.mark.parametrize(("program", "module"), [("training", training), ("benchmarks plot", benchmarks)])
def test_a_program_says_which_extra_it_needs(program, module, monkeypatch, capsys, tmp_path):
    def needy(*_: object) -> None:
        list(progress([1]))

    monkeypatch.setattr(module.__main__, "_run" if module is training else "_plot", needy)
    words = {
        "training": ["convert", "--format", "voc", "--labels", "a", "--images", "b", "--out", str(tmp_path / "c.json")],
        "benchmarks plot": ["plot", "run.jsonl"],
    }[program]
    assert module.__main__.main(words) == 2
    assert capsys.readouterr().err == f'{program}: tqdm is missing; it comes with an extra: pip install ".[train]"\n'


def test_a_server_says_which_extra_it_needs():
    program = "import sys; sys.modules['grpc_health'] = None; from cloud_server.__main__ import main; sys.exit(main())"
    ran = subprocess.run(
        [sys.executable, "-c", program, "serve", "--listen", "127.0.0.1:0"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == 'cloud-server: grpc_health is missing; it comes with an extra: pip install ".[server]"\n'
