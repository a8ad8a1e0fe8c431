"""The end of a command's process, whatever its threads are doing."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn


def run_to_end(main: Callable[[], int]) -> NoReturn:
    """Run a command and end the process with the exit code that it returns.

    Up to Python 3.13 a daemon thread that comes back from a library while the interpreter ends is unwound through the
    library's C++ frames: "terminate called without an active exception", and the process aborts (CPython issue 87135).
    ONNX Runtime, OpenCV and gRPC all do that. So nothing is unwound where another thread is left.
    """
    try:
        code = main()
    except Exception:
        sys.excepthook(*sys.exc_info())
        code = 1
    if threading.active_count() == 1:
        raise SystemExit(code)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
