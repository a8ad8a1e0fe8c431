"""The settings of `edge-client run` about the servers, and what they are told."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass

from splitnet.errors import ConfigError
from splitnet.messages import MAX_DEVICE_ID_CHARS
from splitnet.settings import option
from splitnet.text import printable

MAX_ANSWER_TIMEOUT_S = 3600.0
PROXY_HELP = "reach the servers through the proxy that the environment (http_proxy, no_proxy) names"
_HEADING = "servers"


def default_device_id() -> str:
    """Return this machine's name as a server may log it."""
    return printable(platform.node(), MAX_DEVICE_ID_CHARS) or "edge-client"


@dataclass(frozen=True)
class ServersConfig:
    """Which servers there are, and how this device appears there."""

    server: str | Sequence[str] | None = option(
        "the cloud-server; may be given several times: the first that works is used, and when it fails or "
        "shuts down, the next. Only --mode local needs none",
        default=None,
        action="append",
        metavar="HOST:PORT",
        group=_HEADING,
    )
    answer_timeout_s: float = option(
        "seconds until a frame without an answer is lost and the session opened anew: more where the link or this "
        "device is very slow",
        default=10.0,
        group=_HEADING,
    )
    use_proxy: bool = option(
        PROXY_HELP,
        default=False,
        group=_HEADING,
    )
    device_id: str = option(
        "name of this device in the server's log", default=default_device_id(), metavar="NAME", group=_HEADING
    )
    no_status: bool = option(
        "say nothing to the server's status page: how this device is doing, its decisions and its log",
        default=False,
        group=_HEADING,
    )
    preview: bool = option(
        "show small images of this camera on the server's status page, where the link has room for them",
        default=False,
        group=_HEADING,
    )

    def check_servers(self) -> None:
        """Raise ConfigError if a setting of the servers is out of range."""
        if not 0 < len(self.device_id) <= MAX_DEVICE_ID_CHARS or not self.device_id.isprintable():
            raise ConfigError(f"--device-id is printable text of at most {MAX_DEVICE_ID_CHARS} characters")
        if not 1 <= self.answer_timeout_s <= MAX_ANSWER_TIMEOUT_S:
            raise ConfigError(f"--answer-timeout-s lies between 1 and {MAX_ANSWER_TIMEOUT_S:g}")
