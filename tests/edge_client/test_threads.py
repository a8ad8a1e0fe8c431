"""Threads that make room for others."""

from __future__ import annotations

import os
import threading

import pytest

from edge_client.threads import LOW_PRIORITY, in_background


async def test_work_in_the_background_yields_to_all_other_threads():
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    priority = await in_background(lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    assert priority == min(19, own + LOW_PRIORITY)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own


async def test_what_fails_in_the_background_fails_here():
    with pytest.raises(ValueError, match="damaged"):
        await in_background(lambda: _fail("damaged"))


def _fail(why: str) -> None:
    raise ValueError(why)
