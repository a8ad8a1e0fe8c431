"""The table of what a still room takes on the wire, from wire.json. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def wire(result: Mapping[str, Any]) -> str:
    """Return bytes a frame in both directions, with and without the headers of TCP and IP."""
    header = f"| a still room | up: gRPC and HTTP/2 | with TCP and IP | down | with TCP and IP |\n{'|---' * 5}|\n"
    return header + "".join(
        f"| {row['way']} | {row['up_bytes']:.0f} | {row['up_wire_bytes']:.0f} "
        f"| {row['down_bytes']:.0f} | {row['down_wire_bytes']:.0f} |\n"
        for row in result["rows"]
    )
