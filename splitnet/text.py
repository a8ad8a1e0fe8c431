"""Text from strangers made fit for people: printable, bounded, and without secrets."""

from __future__ import annotations

import re

MAX_CHARS = 300

# Up to the last "@": a password may hold any sign.
_CREDENTIALS = re.compile(r"(?<=:/)/?[^\s/'\"][^\s'\"]*@")
_SECRET_VALUE = re.compile(r"(?i)(passw(?:or)?d|passwd|pwd|pass|secret|token|api_?key)=[^&\s'\"]+")


def printable(text: str, most: int = MAX_CHARS) -> str:
    """Return one line of at most `most` characters: blanks are one blank each, what cannot be printed is escaped."""
    line = " ".join(text[: 4 * most].split())
    escaped = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in line)
    return escaped if len(escaped) <= most and len(text) <= 4 * most else f"{escaped[: most - 1]}…"


def without_secrets(text: str) -> str:
    """Return a text with "***" for user and password in every URL, and for the values of what is named like one.

    Not more than the rest of the word is lost where it is unclear which part of it is the password.
    """
    hidden = _CREDENTIALS.sub(lambda found: "/***@" if found[0].startswith("/") else "***@", text)
    return _SECRET_VALUE.sub(r"\1=***", hidden)
