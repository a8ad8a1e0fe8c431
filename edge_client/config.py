"""The settings of `edge-client run`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_client.choice_config import ChoiceConfig
from edge_client.encoding.backends import AUTO, BACKENDS
from edge_client.group_config import GroupConfig
from edge_client.servers_config import ServersConfig
from edge_client.source_config import SourceConfig
from edge_client.transport.servers import server_list
from edge_client.transport.tls_files import tls_option
from splitnet.errors import ConfigError
from splitnet.messages import MAX_FURTHER
from splitnet.operating_point import Mode
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.settings import DEFAULT_BUNDLE, option

BACKEND_HELP = (
    "what runs the networks on the device: ONNX Runtime (the extra onnxruntime), faster on a CPU, PyTorch, or the "
    "former where it is installed and the latter elsewhere (auto)"
)
# Headings of the help.
_DEVICE, _MODELS, _OUTPUT = "this device", "models from the server", "output"


def address_of(option: str, text: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT". ConfigError, which names the option, if it is none."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ConfigError(f"{option} takes HOST:PORT, such as 127.0.0.1:9108, not {text!r}")
    return host, int(port)


@dataclass(frozen=True)
class RunConfig(OutputsConfig, GroupConfig, ChoiceConfig, ServersConfig, SourceConfig):  # help begins with the last
    """Settings of `edge-client run`."""

    bundle: Path = option(
        "bundle, the same as the server's; if not given, what the server delivers takes its place",
        default=DEFAULT_BUNDLE,
        metavar="DIR",
        group=_DEVICE,
    )
    further_bundle: Sequence[Path] | None = option(
        "another bundle of the server that answers each frame, too; may be given up to three times. Only its "
        "manifest.json must be on this device",
        default=None,
        action="append",
        metavar="DIR",
        group=_DEVICE,
    )
    no_updates: bool = option("take no models from the server", default=False, group=_MODELS)
    trust: str = option(
        "take models signed by whom `cloud-server keys show` names, or by a 1.root.json of theirs; remembered",
        default="",
        metavar="FINGERPRINT",
        group=_MODELS,
    )
    trust_on_first_use: bool = option(
        "trust whoever signs the models of the first server that is reached, from then on", default=False, group=_MODELS
    )
    models: Path | None = option(
        "folder for models (default: ~/.local/share/slimsplit/models)", default=None, metavar="DIR", group=_MODELS
    )
    models_mb: float = option("most that models may take which are not in use", default=300.0, group=_MODELS)
    trial_s: float = option("seconds that a new model is watched before it stays", default=20.0, group=_MODELS)
    device: str = option("where to encode", default="cpu", choices=("cpu", "cuda"), group=_DEVICE)
    threads: int = option("CPU threads of the encoder", default=1, group=_DEVICE)
    backend: str = option(BACKEND_HELP, default=AUTO, choices=BACKENDS, group=_DEVICE)
    profile: Path | None = option(
        "this device's profile, instead of the kept one", default=None, metavar="FILE.json", group=_DEVICE
    )
    server_ca: str | None = tls_option("server_ca")
    client_cert: Path | None = tls_option("client_cert")
    client_key: Path | None = tls_option("client_key")
    token_file: Path | None = tls_option("token_file")
    identity: Path | None = tls_option("identity")
    smooth: bool = option(
        "give frames that nobody looked at the boxes of the last answers, moved on, marked as predicted",
        default=False,
        group=_OUTPUT,
    )
    view: bool = option(
        "show frames and boxes in a window, or without a display on a web page of this machine",
        default=False,
        group=_OUTPUT,
    )
    view_port: int = option("port of that page; 0: a free one", default=8090, metavar="PORT", group=_OUTPUT)
    out: Path | None = option(
        "write detections, one JSON object a line", default=None, metavar="FILE.jsonl", group=_OUTPUT
    )
    annotate: Path | None = option(
        "draw boxes into a video (.mp4 .mov .mkv .avi) or a folder of images",
        default=None,
        metavar="FILE.mp4",
        group=_OUTPUT,
    )
    min_score: float = option(
        "show and write only objects with at least this score; the server leaves out those below 0.25",
        default=0.0,
        group=_OUTPUT,
    )
    trace_out: Path | None = option(
        "write what was chosen for each frame, why, and what came of it",
        default=None,
        metavar="FILE.jsonl",
        group=_OUTPUT,
    )
    metrics: str = option(
        "address of metrics for Prometheus, such as 0.0.0.0:9108 (the extra metrics); none if not given",
        default="",
        metavar="HOST:PORT",
        group=_OUTPUT,
    )
    log_format: str = option(
        "warnings and errors as lines for people, or as JSON for collectors",
        default="text",
        choices=("text", "json"),
        group=_OUTPUT,
    )
    json_summary: Path | None = option("write the summary as JSON", default=None, metavar="FILE.json", group=_OUTPUT)

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range or contradicts another one."""
        super().__post_init__()
        self.check_source()
        self.check_servers()
        if self.threads < 1:
            raise ConfigError("--threads must be positive")
        if self.metrics:
            address_of("--metrics", self.metrics)
        if not (0 <= self.models_mb < math.inf and 0 <= self.trial_s < math.inf):
            raise ConfigError("--models-mb and --trial-s cannot be negative")
        if not (0 <= self.min_score <= 1 and 0 <= self.view_port < 65536):
            raise ConfigError("--min-score lies between 0 and 1, --view-port between 0 and 65535")
        if not server_list(self.server) and self.mode != Mode.LOCAL.value:
            raise ConfigError("give --server HOST:PORT; only --mode local needs none")
        if self.further_bundle and (self.mode == Mode.LOCAL.value or len(self.further_bundle) > MAX_FURTHER):
            raise ConfigError(f"--further-bundle is for a server, and for {MAX_FURTHER} bundles at most")
        self.check_group()
        if self.group:
            self._check_fits_group()
        self.check_choice()

    def _check_fits_group(self) -> None:
        """Raise ConfigError for what a device of a group cannot do."""
        if self.mode not in (None, Mode.SPLIT.value) or self.further_bundle or self.in_layers or self.schedule:
            raise ConfigError(
                "a device of a group sends its part of the features: leave --mode, --further-bundle, --in-layers and "
                "--schedule out"
            )
        if len(self.cameras) > 1:
            raise ConfigError("a group looks at one camera: give one --source")
        if self.takes_images and self.group_listen:
            raise ConfigError("images from the group's owner are not handed on again: leave --group-listen out")
        if self.group_listen:
            address_of("--group-listen", self.group_listen)
            if self.as_fast_as_possible:
                raise ConfigError("images are handed on at a camera's pace: leave --as-fast-as-possible out")
