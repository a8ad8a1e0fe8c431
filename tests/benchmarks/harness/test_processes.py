"""Children end with their block, whatever ends the block, and say why they did not start."""

import os
import signal
import subprocess

import pytest

from benchmarks.harness import processes
from benchmarks.harness.processes import child_process, server_process
from splitnet.errors import LinkError

SLEEPS = ["timeit", "-n1", "-r1", "import time; time.sleep(600)"]


def test_a_child_ends_with_its_block():
    with child_process(SLEEPS) as child:
        assert child.poll() is None
    assert child.returncode == -signal.SIGTERM


def test_a_child_ends_with_an_error_in_its_block():
    with pytest.raises(ZeroDivisionError), child_process(SLEEPS) as child:
        raise ZeroDivisionError
    assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_child_ends_when_a_signal_ends_its_parents_block(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), child_process(SLEEPS) as child:
        os.kill(os.getpid(), number)
        child.wait(timeout=60)
    assert child.returncode == -signal.SIGTERM
    assert signal.getsignal(number) is before


def test_a_signal_while_the_child_is_being_started_ends_it_too(monkeypatch):
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **keywords):
            super().__init__(*arguments, **keywords)
            started.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), child_process(SLEEPS):
        pytest.fail("the block must not run")
    assert started[0].returncode == -signal.SIGTERM


def test_a_second_ctrl_c_leaves_no_child_behind(monkeypatch):
    def wait(self, timeout=None):
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGINT)
        return self.wait(timeout)

    with child_process(SLEEPS) as child:
        monkeypatch.setattr(subprocess.Popen, "wait", wait)
    assert child.returncode == -signal.SIGTERM


def test_signals_that_are_ignored_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with child_process(SLEEPS) as child:
            os.kill(os.getpid(), signal.SIGHUP)
            assert child.poll() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_child_that_ignores_sigterm_is_killed(monkeypatch):
    monkeypatch.setattr(processes, "STOP_PATIENCE_S", 0.1)
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    with child_process(["timeit", "-n1", "-r1", stubborn], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == "deaf\n"
    assert child.returncode == -signal.SIGKILL


def test_ctrl_c_in_the_terminal_reaches_the_parent_only():
    with child_process(SLEEPS) as child:
        assert os.getpgid(child.pid) != os.getpgid(0)


def test_a_server_is_ready_in_its_block_and_gone_after_it(tmp_path, tiny_bundle):
    with server_process(tiny_bundle, tmp_path / "server.log", "--no-tune", "--threads", "1") as server:
        assert server.address.startswith("127.0.0.1:")
        assert server.alive
    assert server.process.returncode == 0
    assert '"drained": true' in (tmp_path / "server.log").read_text()


def test_a_server_that_cannot_start_says_why(tmp_path):
    with (
        pytest.raises(LinkError, match=r"the server did not start: cloud-server: .* is not a bundle"),
        server_process(tmp_path / "nothing", tmp_path / "server.log"),
    ):
        pass


def test_a_server_that_takes_too_long_is_given_up(tmp_path, tiny_bundle):
    with (
        pytest.raises(LinkError, match="not ready within 0 s"),
        server_process(tiny_bundle, tmp_path / "server.log", "--no-tune", patience_s=0.0),
    ):
        pass
