"""The settings of `edge-client profile`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edge_client.config import BACKEND_HELP
from edge_client.encoding.backends import AUTO, BACKENDS
from edge_client.servers_config import PROXY_HELP
from edge_client.transport.servers import server_list
from edge_client.transport.tls_files import tls_option
from splitnet.errors import ConfigError
from splitnet.settings import DEFAULT_BUNDLE, option


@dataclass(frozen=True)
class ProfileConfig:
    """Settings of `edge-client profile`."""

    bundle: Path = option("bundle to measure", default=DEFAULT_BUNDLE, metavar="DIR")
    source: str = option(
        "video file or folder to take frames from; synthetic ones if not given", default="", metavar="SRC"
    )
    frames: int = option("frames measured at each operating point", default=50)
    seconds: float = option("measure no longer than this", default=20.0)
    quality: int | None = option("quality measured; the middle one if not given", default=None)
    device: str = option("where to encode", default="cpu", choices=("cpu", "cuda"))
    threads: int = option("CPU threads of the encoder", default=1)
    backend: str = option(
        BACKEND_HELP,
        default=AUTO,
        choices=BACKENDS,
    )
    no_energy: bool = option("do not measure the energy of a frame, where the board could", default=False)
    server: str = option(
        "measure the way to it as well, and say which mode serves best", default="", metavar="HOST:PORT"
    )
    use_proxy: bool = option(PROXY_HELP, default=False)
    server_ca: str | None = tls_option("server_ca")
    client_cert: Path | None = tls_option("client_cert")
    client_key: Path | None = tls_option("client_key")
    token_file: Path | None = tls_option("token_file")
    identity: Path | None = tls_option("identity")
    deadline_ms: float = option("from capture to detections, for the advice", default=200.0)
    fps: float = option("frames a second, for the advice", default=10.0)
    out: Path | None = option("write all that was measured here as well", default=None, metavar="FILE.json")

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if not all(0 < one < math.inf for one in (self.frames, self.threads, self.seconds, self.deadline_ms, self.fps)):
            raise ConfigError("--frames, --seconds, --threads, --deadline-ms and --fps must be positive")
        server_list(self.server)
