"""The settings of `cloud-server serve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cloud_server.compute.tuning import UNMEASURED, Tuning, read_tuning
from splitnet.errors import ConfigError
from splitnet.settings import DEFAULT_BUNDLE

BUNDLE_HELP = (
    "bundle, or folder of bundles, to serve; may be given several times, the first is the default. "
    f"SIGHUP looks again (default: {DEFAULT_BUNDLE.name})"
)
LISTEN_HELP = "address to listen on; 0.0.0.0 serves the network (no authentication), port 0 is any free port"


@dataclass(frozen=True)
class ServeConfig:
    """What one daemon serves, where, and with what."""

    bundle: Sequence[Path] | None = field(
        default=None, metadata={"type": Path, "action": "append", "help": BUNDLE_HELP, "metavar": "DIR"}
    )
    listen: str = field(default="127.0.0.1:50051", metadata={"help": LISTEN_HELP, "metavar": "HOST:PORT"})
    device: str = field(
        default="auto",
        metadata={"help": "where to compute; auto takes CUDA if present", "choices": ("auto", "cpu", "cuda")},
    )
    threads: int = field(default=0, metadata={"help": "CPU threads of a batch; 0 lets torch or the tuning choose"})
    tuning: Path | None = field(
        default=None, metadata={"type": Path, "help": "what `cloud-server tune` found fastest", "metavar": "FILE"}
    )
    decode_threads: int = field(default=2, metadata={"help": "threads for entropy and picture decoding"})
    max_batch_size: int = field(default=8, metadata={"help": "most frames computed together"})
    max_queue: int = field(default=64, metadata={"help": "most frames waiting; further ones are refused"})
    drain_grace_s: float = field(default=5.0, metadata={"help": "seconds for open sessions to finish after SIGTERM"})
    log_level: str = field(
        default="info",
        metadata={
            "help": "least severity logged, as JSON lines on stderr",
            "choices": ("debug", "info", "warning", "error"),
        },
    )

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        split_address(self.listen)
        _check_range("threads", self.threads, 0, 1024)
        _check_range("decode-threads", self.decode_threads, 1, 64)
        _check_range("max-batch-size", self.max_batch_size, 1, 1024)
        _check_range("max-queue", self.max_queue, 1, 100_000)
        _check_range("drain-grace-s", self.drain_grace_s, 0, 3600)

    @property
    def bundles(self) -> Sequence[Path]:
        """What to serve, the default first."""
        return self.bundle or [DEFAULT_BUNDLE]

    def chosen_tuning(self) -> Tuning:
        """Return how to compute: the file's choice, but for the threads if they are given. Raises ConfigError."""
        tuning = UNMEASURED if self.tuning is None else read_tuning(self.tuning)
        return replace(tuning, threads=self.threads) if self.threads else tuning


def split_address(address: str) -> tuple[str, int]:
    """Split "host:port" or "[v6 address]:port". Raises ConfigError."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"--listen takes HOST:PORT, such as 0.0.0.0:50051, not {address!r}")
    return host, int(port)


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"--{name} must be between {low} and {high}, not {value}")
