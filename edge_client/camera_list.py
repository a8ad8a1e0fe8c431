"""The sources of a run by name: `--source ADDRESS` or `--source NAME=ADDRESS`, once for each camera."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from splitnet.errors import ConfigError
from splitnet.messages import MAX_CAMERA_CHARS
from splitnet.text import printable, without_secrets

MAX_CAMERAS = 16  # of one run

# Fit for the name of a file, a label of metrics, a topic and an address alike.
_NAME = f"[A-Za-z0-9][A-Za-z0-9_-]{{0,{MAX_CAMERA_CHARS - 1}}}"
_NAMED = re.compile(f"({_NAME})=(.+)", re.DOTALL)
_LIKE_NAMED = re.compile(r"([^=/:]+)=(?=[a-z]+:|/|[0-9]+$)")


class NamedSource(NamedTuple):
    """A camera's name, empty for the only one that has none, and its address."""

    name: str
    address: str


def named_sources(given: str | Sequence[str]) -> tuple[NamedSource, ...]:
    """Return the sources in their order; of several, those without a name are cam1, cam2 ... by their place.

    Raises ConfigError for two of one name, for too many, and for a name that is none.
    """
    listed = (given,) if isinstance(given, str) else tuple(given)
    if not 0 < len(listed) <= MAX_CAMERAS or (len(listed) > 1 and "" in listed):
        raise ConfigError(f"give --source SRC, once for each of at most {MAX_CAMERAS} cameras")
    sources = [_parsed(text) for text in listed]
    if len(sources) > 1:
        sources = [NamedSource(one.name or f"cam{i}", one.address) for i, one in enumerate(sources, start=1)]
    name, count = Counter(one.name.lower() for one in sources).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"{count} sources are called {name}: give each a name of its own, --source NAME=SRC")
    return tuple(sources)


def _parsed(text: str) -> NamedSource:
    if os.path.exists(text):  # noqa: PTH110 - Path's raises where an address is long
        return NamedSource("", text)
    if found := _NAMED.fullmatch(text):
        return NamedSource(found[1], found[2])
    if found := _LIKE_NAMED.match(text):
        name = printable(without_secrets(found[1]))
        raise ConfigError(
            f"{name!r} is no name for a camera: at most {MAX_CAMERA_CHARS} letters, digits, - and _, such as yard"
        )
    return NamedSource("", text)
