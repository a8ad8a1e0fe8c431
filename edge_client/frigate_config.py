"""The settings of `edge-client frigate`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_client.endpoint_config import EndpointConfig
from splitnet.errors import ConfigError
from splitnet.settings import option

TRANSPORTS = ("tcp://", "ipc://")


@dataclass(frozen=True)
class FrigateConfig(EndpointConfig):
    """Settings of `edge-client frigate`."""

    own: ClassVar[frozenset[str]] = EndpointConfig.own | {"listen", "pixel_format", "print_config"}

    listen: str = option(
        "where Frigate's detector connects to; tcp://0.0.0.0:5555 lets the whole network ask",
        default="tcp://127.0.0.1:5555",
        metavar="ADDRESS",
    )
    pixel_format: str = option(
        "the order of colours, as Frigate's model.input_pixel_format says it", default="rgb", choices=("rgb", "bgr")
    )
    print_config: bool = option("print what to put into Frigate's settings, and end", default=False)

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range or contradicts another one."""
        if not self.listen.startswith(TRANSPORTS):
            raise ConfigError(f"--listen takes tcp://HOST:PORT or ipc:///PATH, not {self.listen!r}")
        if not self.print_config:  # else no server is needed
            super().__post_init__()
