"""The settings of `edge-client http`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edge_client.config import address_of
from edge_client.endpoint_config import EndpointConfig
from splitnet.settings import option, same_option

TIMEOUT_MS = 1000.0  # Blue Iris and Home Assistant wait for seconds


@dataclass(frozen=True)
class HttpConfig(EndpointConfig):
    """Settings of `edge-client http`."""

    own: ClassVar[frozenset[str]] = EndpointConfig.own | {"listen", "key_file"}

    timeout_ms: float = same_option(EndpointConfig, "timeout_ms", TIMEOUT_MS)
    listen: str = option(
        "where images are posted to; 0.0.0.0 lets the whole network ask", default="127.0.0.1:5000", metavar="HOST:PORT"
    )
    key_file: Path | None = option("file with a key that requests must give as api_key", default=None, metavar="FILE")

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range or contradicts another one."""
        super().__post_init__()
        address_of("--listen", self.listen)
