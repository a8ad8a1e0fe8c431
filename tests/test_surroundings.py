"""The tests' own surroundings: nothing of who starts them, where and how reaches a test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.support.surroundings import SIGNALS, known_surroundings

PROBE = f"""
import signal
print([signal.getsignal(number) is signal.SIG_IGN for number in {[int(number) for number in SIGNALS]}])
print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_children_ignore_and_block_no_signal_that_this_process_was_started_with(tmp_path):
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
    try:
        with known_surroundings(tmp_path):
            said = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True).stdout
            os.kill(os.getpid(), signal.SIGHUP)  # which `nohup` keeps from this process
        assert all(signal.getsignal(number) is signal.SIG_IGN for number in SIGNALS)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert said.split("\n")[:2] == [str([False] * len(SIGNALS)), "set()"]


def test_home_locale_zone_and_proxies_are_the_same_everywhere(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTPS_PROXY", "LC_ALL", "XDG_CACHE_HOME", "COLUMNS", "DISPLAY"):
        monkeypatch.setenv(name, "x")
    with known_surroundings(tmp_path):
        assert os.environ["HOME"] == str(tmp_path)
        assert not [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith(("LC_", "XDG_"))]
        assert not {"COLUMNS", "DISPLAY"} & os.environ.keys()
        assert time.strftime("%z", time.localtime(0)) == "+0545"  # whoever forgets UTC is seen
    assert os.environ["http_proxy"] == os.environ["COLUMNS"] == "x"
