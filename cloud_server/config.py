"""The settings of `cloud-server serve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splitnet.errors import ConfigError
from splitnet.image_header import MAX_IMAGE_PIXELS
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.settings import DEFAULT_BUNDLE, option

BUNDLE_HELP = (
    "bundle, or folder of bundles, to serve; may be given several times, the first is the default. "
    f"SIGHUP looks again (default: {DEFAULT_BUNDLE.name})"
)
LISTEN_HELP = (
    "address to listen on; 0.0.0.0 serves the network: lock it with --access or --tls-cert. Port 0 is any free port"
)

MAX_CALLS = 1000
_LIMITS, _SECURITY, _CLUSTER = "limits", "security", "cluster"
LOCAL_CLUSTER = "local"


@dataclass(frozen=True)
class ServeConfig(OutputsConfig):
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
    plan: Path | None = option(
        "what bundles share, as `python -m training share` wrote it; SIGHUP looks at it again. Implies --small-memory",
        default=None,
        metavar="PLAN",
    )
    small_memory: bool = option(
        "compute by PyTorch even where ONNX Runtime is faster: then weights that bundles have in common are held once",
        default=False,
    )
    updates: Path | None = option(
        "give devices the signed models of this folder, which `cloud-server keys new` has made "
        "(default: ~/.local/share/slimsplit/updates where there is one)",
        default=None,
        metavar="DIR",
    )
    decode_threads: int = option("threads for entropy and image decoding", default=2)
    max_batch_size: int = option("most frames computed together", default=8)
    max_queue: int = option("most frames waiting; further ones are refused", default=64)
    max_calls: int = option(
        "most sessions, single calls and health watches at once; further ones are refused", default=MAX_CALLS
    )
    max_calls_per_address: int = option(
        "the same for one address that has not shown which device it is", default=64, group=_LIMITS
    )
    max_calls_per_device: int = option("the same for one known device", default=8, group=_LIMITS)
    max_calls_per_s: float = option(
        "sessions opened, single calls and health checks of one address in a second", default=50.0, group=_LIMITS
    )
    max_connections_per_address: int = option("connections of one address", default=500, group=_LIMITS)
    flood_bar_s: float = option(
        "seconds that an address may open no connection after it has sent much that is neither call nor message; "
        "0: leave that to a firewall",
        default=60.0,
        group=_LIMITS,
    )
    max_image_pixels: int = option(
        "most pixels of a whole image; devices are told", default=MAX_IMAGE_PIXELS, group=_LIMITS
    )
    open_timeout_s: float = option("seconds until a stream must have opened its session", default=10.0, group=_LIMITS)
    idle_timeout_s: float = option("seconds without a frame after which a session ends", default=900.0, group=_LIMITS)
    access: Path | None = option(
        "let known devices in only: the folder that `cloud-server devices init` made, with the server's certificate",
        default=None,
        metavar="DIR",
        group=_SECURITY,
    )
    enrol_listen: str | None = option(
        "second address with --access: TLS without client certificates, for enrolment, tokens and health checks; the "
        "port after --listen's if not given, none for no such address",
        default=None,
        metavar="HOST:PORT",
        group=_SECURITY,
    )
    tls_cert: Path | None = option(
        "certificate chain of the server, PEM; a changed file is taken while it runs",
        default=None,
        metavar="FILE",
        group=_SECURITY,
    )
    tls_key: Path | None = option(
        "its key, PEM, if it is not in the same file", default=None, metavar="FILE", group=_SECURITY
    )
    client_ca: Path | None = option(
        "authority of an own PKI, PEM: devices must show its certificates, whose common names they are called by",
        default=None,
        metavar="FILE",
        group=_SECURITY,
    )
    cluster: str | None = option(
        "let replicas on Ray Serve compute: of a Ray of this machine, which is started, or of the cluster whose head "
        "is at ADDRESS (HOST:PORT)",
        default=None,
        nargs="?",
        const=LOCAL_CLUSTER,
        metavar="ADDRESS",
        group=_CLUSTER,
    )
    cluster_replicas: int = option("replicas of each bundle, at least", default=2, group=_CLUSTER)
    cluster_max_replicas: int = option(
        "and at most, while frames wait too long; 0 is as many as at least", default=0, group=_CLUSTER
    )
    cluster_timeout_s: float = option("seconds for a batch, after which it is lost", default=1.0, group=_CLUSTER)
    cluster_fallback: str = option(
        "who computes while no replica answers: this daemon, or nobody",
        default="embedded",
        choices=("embedded", "none"),
        group=_CLUSTER,
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
    http: str = option(
        "address where images are posted to, as DeepStack and CodeProject.AI take them; none if not given",
        default="",
        metavar="HOST:PORT",
    )
    http_key_file: Path | None = option(
        "file with a key that such requests must give as api_key", default=None, metavar="FILE"
    )
    log_level: str = option(
        "least severity logged, as JSON lines on stderr", default="info", choices=("debug", "info", "warning", "error")
    )

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        super().__post_init__()
        split_address(self.listen)
        if self.status:
            split_address(self.status, "--status")
        if self.http:
            split_address(self.http, "--http")
        elif self.http_key_file is not None:
            raise ConfigError("--http-key-file belongs to --http")
        _check_range("threads", self.threads, 0, 1024)
        _check_range("decode-threads", self.decode_threads, 1, 64)
        _check_range("max-batch-size", self.max_batch_size, 1, 1024)
        _check_range("max-queue", self.max_queue, 1, 100_000)
        _check_range("max-calls", self.max_calls, 1, 100_000)
        _check_range("max-calls-per-address", self.max_calls_per_address, 1, 100_000)
        _check_range("max-calls-per-device", self.max_calls_per_device, 1, 100_000)
        _check_range("max-calls-per-s", self.max_calls_per_s, 0.1, 1_000_000)
        _check_range("max-connections-per-address", self.max_connections_per_address, 1, 100_000)
        _check_range("flood-bar-s", self.flood_bar_s, 0, 86_400)
        _check_range("max-image-pixels", self.max_image_pixels, 1, MAX_IMAGE_PIXELS)
        _check_range("open-timeout-s", self.open_timeout_s, 0.1, 3600)
        _check_range("idle-timeout-s", self.idle_timeout_s, 1, 31_536_000)
        if self.enrol_listen not in (None, "none"):
            split_address(self.enrol_listen)
        if self.access is None and self.enrol_listen is not None:
            raise ConfigError("--enrol-listen belongs to --access DIR")
        if self.tls_cert is None and (self.tls_key is not None or self.client_ca is not None):
            raise ConfigError("--tls-key and --client-ca belong to --tls-cert FILE")
        if self.access is not None and self.client_ca is not None:
            raise ConfigError("--access knows its devices by their own keys: leave --client-ca out")
        _check_range("cluster-replicas", self.cluster_replicas, 1, 1024)
        _check_range("cluster-max-replicas", self.cluster_max_replicas, 0, 1024)
        _check_range("cluster-timeout-s", self.cluster_timeout_s, 0.05, 60)
        if self.cluster is not None and self.plan is not None:
            raise ConfigError("--plan shares layers in this process's memory: leave --cluster out")
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
