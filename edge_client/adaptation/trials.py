"""Trials: now and then a frame goes where nothing has gone for a while, to learn what that would cost now. Pure.

What is known of the link and the server comes from frames that are sent, and what is known of a width or an image codec
from frames that are encoded so. What looks bad is not chosen, and what is not chosen would look bad for ever. A trial
that fails costs a frame, so the pause until the next one doubles; one that is in time ends the doubling.
"""

from __future__ import annotations

LINK_PAUSE_S, WORK_PAUSE_S = 2.0, 4.0  # before the first trial of the link, and of a width or codec
LONGEST = 16  # times the first pause
GAIN_AP = 1.0  # that a point must promise at the device's undisturbed pace to be tried


class Trials:
    """When the next trial is due."""

    def __init__(self, pause_s: float) -> None:
        self._first_s = self._pause_s = pause_s
        self._latest: float | None = None

    def is_due(self, now: float) -> bool:
        """Return whether the pause since the latest trial is over; a clock that has jumped back ends it, too."""
        latest = self._latest
        if latest is None:
            self._latest = now  # the pause begins with the first frame
            return False
        return not latest <= now < latest + self._pause_s

    def begun(self, now: float) -> None:
        """Note a trial, or that there is nothing to try."""
        self._latest = now

    def ended(self, in_time: bool) -> None:
        """Learn how a trial ended."""
        self._pause_s = self._first_s if in_time else min(LONGEST * self._first_s, 2 * self._pause_s)
