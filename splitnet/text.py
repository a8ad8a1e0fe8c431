"""Text from strangers made fit for people: printable, bounded, and without secrets."""

from __future__ import annotations

import re

MAX_CHARS = 300

# Up to the last "@": a password may hold any sign.
_CREDENTIALS = re.compile(r"(?<=:/)/?[^\s/'\"][^\s'\"]*@")
_SECRET_VALUE = re.compile(
    r"(?i)(passw(?:or)?d|passwd|pwd|pass|user-pw|secret|token|api_?key)=(?:\"[^\"]*\"|'[^']*'|[^&\s'\"]+)"
)
_BEARER = re.compile(r"(?i)\b(bearer )[\w.~+/=-]+")
_CODE = re.compile(r"(--code[ =]|enrol\?code=)[^\s'\"&]+")  # of enrolment


def printable(text: str, most: int = MAX_CHARS) -> str:
    """Return one line of at most `most` characters: blanks are one blank each, what cannot be printed is escaped."""
    line = escaped(" ".join(text[: 4 * most].split()))
    return line if len(line) <= most and len(text) <= 4 * most else f"{line[: most - 1]}…"


def escaped(text: str) -> str:
    """Return a text in which all that cannot be printed, but the ends of lines, is escaped: "\\x1b"."""
    return "".join(_escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    return sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode()


def without_secrets(text: str) -> str:
    """Return a text with "***" for user and password in every URL, and for the values of what is named like one.

    Not more than the rest of the word is lost where it is unclear which part of it is the password.
    """
    hidden = _CREDENTIALS.sub(lambda found: "/***@" if found[0].startswith("/") else "***@", text)
    return _CODE.sub(r"\1***", _BEARER.sub(r"\1***", _SECRET_VALUE.sub(r"\1=***", hidden)))
