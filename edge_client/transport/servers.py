"""The servers that a run may use, and which of them to try first. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from splitnet.errors import ConfigError
from splitnet.text import printable, without_secrets

_NAME = r"[A-Za-z0-9._-]{1,253}"
_IPV6 = r"\[[0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9._-]{1,32})?\]"
_ADDRESS = re.compile(rf"({_NAME}|{_IPV6}):([0-9]{{1,5}})")


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
        split_address(server)
    return tuple(dict.fromkeys(listed))


def split_address(server: str) -> tuple[str, int]:
    """Return host and port of HOST:PORT, an IPv6 address without its brackets. Raises ConfigError for anything else."""
    found = _ADDRESS.fullmatch(server)
    if found is None or not 0 < int(found[2]) < 65536:
        raise ConfigError(_what_is_wrong(server))
    return found[1].strip("[]"), int(found[2])


def _what_is_wrong(server: str) -> str:
    shown = repr(printable(without_secrets(server)))
    if "://" in server:
        right = server.partition("://")[2].rpartition("@")[2].partition("/")[0]
        return f"a server is given as HOST:PORT without http:// or the like, not {shown}{_suggested(right)}"
    host, _, port = server.rpartition(":")
    if re.fullmatch("[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host):
        return f"an IPv6 address is given in brackets, not as {shown}{_suggested(f'[{host}]:{port}')}"
    if _ADDRESS.fullmatch(f"{server}:1"):
        return f"a server is given as HOST:PORT, and {shown} has no port: {server}:50051?"
    return f"a server is given as HOST:PORT, not {shown}; several as several --server"


def _suggested(right: str) -> str:
    return f": write {right}" if _ADDRESS.fullmatch(right) else ""
