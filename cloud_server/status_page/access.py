"""Who may read the page: a program of this machine, or whoever knows the token."""

from __future__ import annotations

import hashlib
import hmac
from ipaddress import ip_address
from pathlib import Path

from aiohttp import web

from splitnet.errors import ConfigError
from splitnet.regular_file import read_regular

COOKIE = "slimsplit-status"
MIN_TOKEN_CHARS = 16
MAX_TOKEN_BYTES = 4096
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


def read_token(path: Path) -> str:
    """Return the token in a file. Raises ConfigError if there is none, or one that can be guessed."""
    try:
        token = read_regular(path, MAX_TOKEN_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--status-token-file {path} cannot be read ({error}): give a file with a token") from error
    if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable():
        how = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe())'"
        raise ConfigError(f"--status-token-file {path} holds no token of {MIN_TOKEN_CHARS} plain signs or more: {how}")
    return token


class Access:
    """Judges requests."""

    def __init__(self, token: str | None) -> None:
        """Take the token; None: only this machine may read."""
        self._token = token

    @property
    def has_token(self) -> bool:
        """Whether there is any way in from outside."""
        return self._token is not None

    def allows(self, request: web.Request) -> bool:
        """Return whether a request may be answered."""
        return self._is_local(request) or self.knows(_bearer(request)) or self._has_cookie(request)

    def knows(self, token: str) -> bool:
        """Return whether this is the token, in a time that does not tell how much of it is right."""
        return self._token is not None and hmac.compare_digest(token.encode(), self._token.encode())

    def cookie(self) -> str:
        """Return what a browser keeps in the place of the token, which cannot be had from it."""
        return hashlib.sha256(f"{COOKIE} {self._token}".encode()).hexdigest()

    def _has_cookie(self, request: web.Request) -> bool:
        given = request.cookies.get(COOKIE, "")
        return self._token is not None and hmac.compare_digest(given.encode(), self.cookie().encode())

    def _is_local(self, request: web.Request) -> bool:
        """Return whether a program of this machine asks, for this machine.

        A page from elsewhere may point its own name here (DNS rebinding), and a proxy here speaks for others.
        """
        names_us = request.host.rsplit(":", 1)[0] in LOCAL_NAMES or request.host in LOCAL_NAMES
        return names_us and _is_loopback(request.remote) and not any(name in request.headers for name in FORWARDED)


def _bearer(request: web.Request) -> str:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _is_loopback(address: str | None) -> bool:
    try:
        found = ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback
