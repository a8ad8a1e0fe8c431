"""A process that the kernel kills at its first socket: even the look-up of a name needs one.

Pairs of sockets, with which event loops wake themselves, are another system call and go on working.
"""

from __future__ import annotations

import ctypes
import platform
import sys

SOCKET_CALLS = {"x86_64": 41, "aarch64": 198}  # number of socket(2)
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of the classic Berkeley packet filter
_KILL_PROCESS, _ALLOW = 0x80000000, 0x7FFF0000


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def available() -> bool:
    """Return whether this machine's number of the call is known here."""
    return sys.platform == "linux" and platform.machine() in SOCKET_CALLS


def forbid_sockets() -> None:
    """Let the kernel kill this process, with SIGSYS, when any of its threads asks for a socket. Raises OSError."""
    steps = (_Instruction * 4)(
        _Instruction(_LOAD_WORD, 0, 0, 0),  # the number of the system call
        _Instruction(_JUMP_IF_EQUAL, 0, 1, SOCKET_CALLS[platform.machine()]),
        _Instruction(_RETURN, 0, 0, _KILL_PROCESS),
        _Instruction(_RETURN, 0, 0, _ALLOW),
    )
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    program = _Program(len(steps), steps)
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel takes no filter")
