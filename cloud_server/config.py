"""The settings of `cloud-server serve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.settings import DEFAULT_BUNDLE, option

BUNDLE_HELP = (
    "bundle, or folder of bundles, to serve; may be given several times, the first is the default. "
    f"SIGHUP looks again (default: {DEFAULT_BUNDLE.name})"
)
LISTEN_HELP = "address to listen on; 0.0.0.0 serves the network (no authentication), port 0 is any free port"

MAX_CALLS = 1000


@dataclass(frozen=True)
class ServeConfig:
    """What one daemon serves, where, and with what."""

    bundle: Sequence[Path] | None = option(BUNDLE_HELP, default=None, action="append", metavar="DIR")
    listen: str = option(LISTEN_HELP, default="127.0.0.1:50051", metavar="HOST:PORT")
    device: str = option(
        "where to compute; auto takes CUDA if present", default="auto", choices=("auto", "cpu", "cuda")
    )
    threads: int = option("CPU threads of a batch; 0 takes as many as are fastest", default=0)
    tuning: Path | None = option(
        "how to compute, as `cloud-server tune` wrote it; if not given, that is measured at the first start on this "
        "machine and kept",
        default=None,
        metavar="FILE",
    )
    no_tune: bool = option("measure nothing; without --tuning, compute in a way that runs everywhere", default=False)
    small_memory: bool = option(
        "compute by PyTorch even where ONNX Runtime is faster: then weights that bundles have in common are held once",
        default=False,
    )
    decode_threads: int = option("threads for entropy and image decoding", default=2)
    max_batch_size: int = option("most frames computed together", default=8)
    max_queue: int = option("most frames waiting; further ones are refused", default=64)
    max_calls: int = option(
        "most sessions, single calls and health watches at once; further ones are refused", default=MAX_CALLS
    )
    drain_grace_s: float = option("seconds for open sessions to finish after SIGTERM", default=5.0)
    status: str = option(
        "address of the status page, of metrics for Prometheus and of health by HTTP, such as 127.0.0.1:8080; none if "
        "not given",
        default="",
        metavar="HOST:PORT",
    )
    status_token_file: Path | None = option(
        "file with a token that lets others than this machine's programs read them", default=None, metavar="FILE"
    )
    log_level: str = option(
        "least severity logged, as JSON lines on stderr", default="info", choices=("debug", "info", "warning", "error")
    )

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        split_address(self.listen)
        if self.status:
            split_address(self.status, "--status")
        _check_range("threads", self.threads, 0, 1024)
        _check_range("decode-threads", self.decode_threads, 1, 64)
        _check_range("max-batch-size", self.max_batch_size, 1, 1024)
        _check_range("max-queue", self.max_queue, 1, 100_000)
        _check_range("max-calls", self.max_calls, 1, 100_000)
        _check_range("drain-grace-s", self.drain_grace_s, 0, 3600)

    @property
    def bundles(self) -> Sequence[Path]:
        """What to serve, the default first."""
        return self.bundle or [DEFAULT_BUNDLE]


def split_address(address: str, option: str = "--listen") -> tuple[str, int]:
    """Split "host:port" or "[v6 address]:port". Raises ConfigError, which names the option."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"{option} takes HOST:PORT, such as 0.0.0.0:50051, not {address!r}")
    return host, int(port)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"--{name} must be between {low} and {high}, not {value}")
