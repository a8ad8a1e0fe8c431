"""The settings that `edge-client frigate` and `edge-client http` share: what answers requests, and within what time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from edge_client.config import RunConfig
from edge_client.transport.tls_files import tls_option
from splitnet.errors import ConfigError
from splitnet.settings import option, same_option

DEADLINE_MS = 150.0  # that the choice of operating points aims at
LEAST_TIMEOUT_MS, MOST_TIMEOUT_MS = 20.0, 60_000.0


@dataclass(frozen=True)
class EndpointConfig:
    """What each endpoint needs of the settings of `edge-client run`, and its own timeout."""

    own: ClassVar[frozenset[str]] = frozenset({"timeout_ms"})  # no settings of `run`

    server: str | Sequence[str] | None = same_option(RunConfig, "server")
    use_proxy: bool = same_option(RunConfig, "use_proxy")
    device_id: str = same_option(RunConfig, "device_id")
    no_status: bool = same_option(RunConfig, "no_status")
    timeout_ms: float = option("an answer comes within this, by the device's own detector if need be", default=200.0)
    deadline_ms: float = same_option(RunConfig, "deadline_ms", DEADLINE_MS)
    mode: str | None = same_option(RunConfig, "mode")
    min_fps: float = same_option(RunConfig, "min_fps")
    max_kbps: float = same_option(RunConfig, "max_kbps")
    codec: str | None = same_option(RunConfig, "codec")
    width: int | None = same_option(RunConfig, "width")
    quality: int | None = same_option(RunConfig, "quality")
    bundle: Path = same_option(RunConfig, "bundle")
    device: str = same_option(RunConfig, "device")
    threads: int = same_option(RunConfig, "threads")
    backend: str = same_option(RunConfig, "backend")
    profile: Path | None = same_option(RunConfig, "profile")
    server_ca: str | None = tls_option("server_ca")
    client_cert: Path | None = tls_option("client_cert")
    client_key: Path | None = tls_option("client_key")
    token_file: Path | None = tls_option("token_file")
    identity: Path | None = tls_option("identity")
    min_score: float = same_option(RunConfig, "min_score")
    trace_out: Path | None = same_option(RunConfig, "trace_out")
    metrics: str = same_option(RunConfig, "metrics")
    log_format: str = same_option(RunConfig, "log_format")
    json_summary: Path | None = same_option(RunConfig, "json_summary")

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range or contradicts another one."""
        if not LEAST_TIMEOUT_MS <= self.timeout_ms <= MOST_TIMEOUT_MS:
            raise ConfigError(f"--timeout-ms lies between {LEAST_TIMEOUT_MS:g} and {MOST_TIMEOUT_MS:g}")
        self.run_config()

    def run_config(self) -> RunConfig:
        """Return the settings of the run behind the endpoint. Raises ConfigError.

        Each image counts, so that none is overtaken; neighbours show different places, so that none builds on another.
        """
        shared = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in self.own}
        shared |= _without_deadline(self)
        return RunConfig(source="", as_fast_as_possible=True, whole_frames=True, **shared)


def _without_deadline(config: EndpointConfig) -> dict[str, Any]:
    """Return what a fixed operating point changes: nothing is chosen, so that there is no deadline to choose for."""
    is_fixed = config.mode == "local" or any(
        given is not None for given in (config.codec, config.width, config.quality)
    )
    return {"deadline_ms": 0.0} if is_fixed else {}
