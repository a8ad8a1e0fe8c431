"""The servers that a run may use, and which of them to try first. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from splitnet.errors import ConfigError

_ADDRESS = re.compile(r"[^\s,]+:([0-9]{1,5})")


class Servers:
    """Addresses in the order of the user's preference: the first that works is used until it fails.

    Whatever fails is tried again only after the others. Once any of them has served, only the next failure counts.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._preferred = tuple(addresses)
        self._failed: list[str] = []  # since one of them has served; the latest last

    @property
    def order(self) -> tuple[str, ...]:
        """All of them, as they are to be tried."""
        return *(address for address in self._preferred if address not in self._failed), *self._failed

    def failed(self, address: str) -> None:
        """Learn that a session there is over."""
        self._failed = [*(other for other in self._failed if other != address), address]

    def served(self) -> None:
        """Learn that a frame was answered."""
        self._failed = []


def server_list(given: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return one or several HOST:PORT as a list, each once. Raises ConfigError for what is no address."""
    listed = [given] if isinstance(given, str) and given else given or ()
    for server in listed:
        found = _ADDRESS.fullmatch(server)
        if not (found and 0 < int(found[1]) < 65536):
            raise ConfigError(f"a server is given as HOST:PORT, not {server!r}; several as several --server")
    return tuple(dict.fromkeys(listed))
