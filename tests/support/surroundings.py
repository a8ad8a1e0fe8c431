"""The same surroundings for every run of the tests, wherever and by whom they are started."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from splitnet.onnx_runtime import TELEMETRY_SWITCH

# What a shell, a container or an administrator may have set, and what changes a program's behaviour.
FORGOTTEN = {"COLUMNS", "DISPLAY", "FORCE_COLOR", "LANG", "LANGUAGE", "LINES", "NO_COLOR", "WAYLAND_DISPLAY"}
FORGOTTEN_ENDS = ("_proxy", "_PROXY")
FORGOTTEN_BEGINNINGS = ("LC_", "XDG_")
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


@contextmanager
def known_surroundings(home: Path) -> Iterator[None]:
    """Give this process and its children an empty home, a time zone far from UTC, no proxies, and usual signals."""
    before, handlers = dict(os.environ), {number: signal.getsignal(number) for number in SIGNALS}
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    for name in list(os.environ):
        if name in FORGOTTEN or name.endswith(FORGOTTEN_ENDS) or name.startswith(FORGOTTEN_BEGINNINGS):
            del os.environ[name]
    os.environ |= {"HOME": str(home), "LANG": "C.UTF-8", "TZ": "<+0545>-5:45", TELEMETRY_SWITCH: "1"}
    time.tzset()
    _handle_ignored_signals()
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
        time.tzset()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _handle_ignored_signals() -> None:
    """Ignore what was ignored by a handler of our own, which no child inherits, and let Ctrl+C interrupt again."""
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _ignore)


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
