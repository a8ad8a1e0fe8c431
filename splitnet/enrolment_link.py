"""What a QR code of an invitation says: where to enrol, and the code. Pure."""

from __future__ import annotations

import re

from splitnet.errors import ConfigError

_LINK = re.compile(r"slimsplit://([^/\s]{1,300})/enrol\?code=([0-9A-Za-z-]{1,20})")


def enrolment_link(server: str, code: str) -> str:
    """Return what the QR code says. server: HOST:PORT."""
    return f"slimsplit://{server}/enrol?code={code}"


def read_enrolment_link(text: str) -> tuple[str, str]:
    """Return server and code. Raises ConfigError if it is another text."""
    found = _LINK.fullmatch(text)
    if found is None:
        raise ConfigError("this QR code is no invitation: show the one of `cloud-server devices invite`")
    return found[1], found[2]
