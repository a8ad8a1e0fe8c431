"""What systemd wants to hear of a service: that it is ready, that it lives, that it ends (sd_notify(3)).

Without systemd, nothing is said.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

READY, STOPPING, ALIVE = "READY=1", "STOPPING=1", "WATCHDOG=1"


def notify(message: str) -> bool:
    """Tell the service manager something; returns whether there is one."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return False
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK  # a manager that hangs holds nobody up
    with suppress(OSError), socket.socket(socket.AF_UNIX, kind) as channel:
        channel.sendto(message.encode(), "\0" + place[1:] if place.startswith("@") else place)
        return True
    return False


def watchdog_interval_s() -> float | None:
    """Return how often a sign of life is due, twice in the time that the unit's WatchdogSec allows; None: never."""
    microseconds, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isdecimal() and int(microseconds) and process in ("", str(os.getpid()))):
        return None
    return int(microseconds) / 2e6


async def show_life() -> None:
    """Give signs of life from the event loop, for as long as it turns, until cancelled."""
    interval_s = watchdog_interval_s()
    while interval_s is not None:
        notify(ALIVE)
        await asyncio.sleep(interval_s)
