"""The C library's heap, in a process of its own: how many arenas its threads make."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, threading
from splitnet.heap import share_heap
if {shares}: share_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc_info.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
libc.fdopen.restype, libc.fflush.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)
together = threading.Barrier(8)
def hold():
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for one in threads: one.start()
for one in threads: one.join()
out = libc.fdopen(1, b"w")
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_threads_share_two_arenas():
    def arenas(shares: bool) -> int:
        command = [sys.executable, "-c", PROGRAM.format(shares=shares)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.count("<heap nr=")

    assert arenas(shares=True) == 2 < arenas(shares=False)
