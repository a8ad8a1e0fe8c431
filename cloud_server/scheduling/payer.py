"""Who shares the server with others. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple


class Payer(NamedTuple):
    """A member of a group: groups share the server equally, and the members of a group share what it has.

    A known device is a group of its own. Others are of the group of their address, which gains nothing by inventing
    names.
    """

    group: Hashable
    member: Hashable = ""


def group_of(session: Hashable) -> Hashable:
    """Return the group of a payer; anything else is a group of its own."""
    return session.group if isinstance(session, Payer) else session
