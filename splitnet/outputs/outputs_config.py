"""The settings of reports: the tables [outputs], [outputs.mqtt] and [outputs.webhook] of either end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import SplitResult, unquote, urlsplit

from splitnet.errors import ConfigError
from splitnet.outputs.discovery import PREFIX
from splitnet.outputs.topics import check_base
from splitnet.outputs.zones import MAX_ZONES, Zone, parse_zone
from splitnet.regular_file import read_regular
from splitnet.settings import option

MAX_NAME_CHARS = 128
MQTT_PORT, MQTTS_PORT = 1883, 8883
NO_DISCOVERY = "none"
MIN_SECRET_CHARS, MAX_SECRET_BYTES = 8, 4096
_REPORTS = "reports to other programs"


@dataclass(frozen=True)
class OutputsConfig:
    """What is reported, and to whom. A setting `mqtt_url` is `url` in the table [outputs.mqtt]."""

    shared_tables: ClassVar[dict[str, tuple[str, ...]]] = {"outputs": ("mqtt", "webhook")}

    report_as: str = option(
        "what this camera, or this server, is called in reports; the device's or the machine's name if not given",
        default="",
        metavar="NAME",
        group=_REPORTS,
        last=True,
    )
    classes: Sequence[str] | None = option(
        "report only objects of this class; may be given several times",
        default=None,
        action="append",
        metavar="NAME",
        group=_REPORTS,
        last=True,
    )
    zones: Sequence[str] | None = option(
        'part of the image with counts of its own, "drive 0:0.5 1:0.5 1:1 0:1": corners in shares of width and height; '
        "CAMERA/drive for one camera only; may be given several times",
        default=None,
        action="append",
        metavar="ZONE",
        group=_REPORTS,
        last=True,
    )
    appear_s: float = option("seconds that an object must stay to be reported", default=0.5, group=_REPORTS, last=True)
    appear_score: float = option(
        "score that an object must have had once to be reported", default=0.5, group=_REPORTS, last=True
    )
    gone_s: float = option(
        "seconds that it must be away to be reported as gone", default=3.0, group=_REPORTS, last=True
    )
    events_out: Path | None = option(
        "write what changes, one JSON object a line", default=None, metavar="FILE.jsonl", group=_REPORTS, last=True
    )
    mqtt_url: str = option(
        "broker: mqtt://HOST:PORT, or mqtts:// for TLS (the extra outputs)",
        default="",
        metavar="URL",
        group=_REPORTS,
        last=True,
    )
    mqtt_user: str = option("user at the broker", default="", metavar="NAME", group=_REPORTS, last=True)
    mqtt_password_file: Path | None = option(
        "file with the user's password", default=None, metavar="FILE", group=_REPORTS, last=True
    )
    mqtt_ca: Path | None = option(
        "authority that vouches for the broker, PEM; those of this system if not given",
        default=None,
        metavar="FILE",
        group=_REPORTS,
        last=True,
    )
    mqtt_topic: str = option(
        "topic that all others begin with", default="slimsplit", metavar="TOPIC", group=_REPORTS, last=True
    )
    mqtt_frames: bool = option("publish every frame, too", default=False, group=_REPORTS, last=True)
    mqtt_discovery: str = option(
        f"topic of Home Assistant's discovery; {NO_DISCOVERY} for no entities",
        default=PREFIX,
        metavar="TOPIC",
        group=_REPORTS,
        last=True,
    )
    webhook_url: str = option(
        "POST what changes to http:// or https:// (the extra outputs)",
        default="",
        metavar="URL",
        group=_REPORTS,
        last=True,
    )
    webhook_secret_file: Path | None = option(
        "file with a secret to sign with: HMAC-SHA256 of the body",
        default=None,
        metavar="FILE",
        group=_REPORTS,
        last=True,
    )
    webhook_timeout_s: float = option("seconds for an answer", default=10.0, group=_REPORTS, last=True)

    def __post_init__(self) -> None:
        """Raise ConfigError if a setting is out of range."""
        if len(self.report_as) > MAX_NAME_CHARS or not (self.report_as.isprintable() or not self.report_as):
            raise ConfigError(f"--report-as is printable text of at most {MAX_NAME_CHARS} characters")
        if not (0 <= self.appear_s <= 3600 and 0 < self.gone_s <= 3600 and 0 < self.webhook_timeout_s <= 300):
            raise ConfigError("--appear-s and --gone-s lie between 0 and 3600, --webhook-timeout-s between 0 and 300")
        if not 0 <= self.appear_score <= 1:
            raise ConfigError("--appear-score lies between 0 and 1")
        self.parsed_zones()
        check_base(self.mqtt_topic)
        check_base(self.mqtt_discovery)
        if self.mqtt_url:
            self.broker()
        elif self.mqtt_user or self.mqtt_password_file or self.mqtt_ca or self.mqtt_frames:
            raise ConfigError("settings of MQTT need --mqtt-url")
        if self.webhook_url:
            _check_webhook(self.webhook_url)
        elif self.webhook_secret_file:
            raise ConfigError("--webhook-secret-file belongs to --webhook-url")

    @property
    def reports(self) -> bool:
        """Whether anything is reported."""
        return bool(self.mqtt_url or self.webhook_url or self.events_out)

    def parsed_zones(self) -> tuple[Zone, ...]:
        """Return the zones. Raises ConfigError."""
        zones = tuple(parse_zone(text) for text in self.zones or ())
        if len(zones) > MAX_ZONES:
            raise ConfigError(f"--zones takes {MAX_ZONES} at most")
        if len({(zone.camera, zone.name) for zone in zones}) < len(zones):
            raise ConfigError("--zones: two zones of one camera cannot have the same name")
        return zones

    def broker(self) -> Broker:
        """Return where the broker is, and who we are there. Raises ConfigError."""
        url, port = _split("--mqtt-url", self.mqtt_url, ("mqtt", "mqtts"), "mqtt://HOST:1883")
        is_tls = url.scheme == "mqtts"
        user, password = unquote(url.username or "") or self.mqtt_user, unquote(url.password or "")
        if self.mqtt_password_file is not None:
            password = read_secret("--mqtt-password-file", self.mqtt_password_file, 1)
        if password and not user:
            raise ConfigError("--mqtt-password-file needs --mqtt-user")
        if url.path.strip("/") or url.query:
            raise ConfigError("--mqtt-url is a broker's address alone; the topic is --mqtt-topic")
        return Broker(url.hostname or "", port or (MQTTS_PORT if is_tls else MQTT_PORT), user, password, is_tls)


@dataclass(frozen=True)
class Broker:
    """An MQTT broker."""

    host: str
    port: int
    user: str
    password: str
    is_tls: bool

    def __repr__(self) -> str:
        """Return it without the password."""
        return f"Broker({self.host!r}, {self.port}, {self.user!r}, is_tls={self.is_tls})"


def read_secret(option: str, path: Path, least: int = MIN_SECRET_CHARS) -> str:
    """Return the secret in a file. Raises ConfigError if there is none, or one shorter than `least`."""
    try:
        secret = read_regular(path, MAX_SECRET_BYTES).decode().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{option} {path} cannot be read ({error}): give a file with one secret") from error
    if len(secret) < least or not secret.isprintable():
        raise ConfigError(f"{option} {path} holds no secret of {least} signs or more in one line")
    return secret


def _check_webhook(text: str) -> None:
    _split("--webhook-url", text, ("http", "https"), "https://HOST/PATH")


def _split(option: str, text: str, schemes: tuple[str, ...], example: str) -> tuple[SplitResult, int | None]:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ConfigError(f"{option} is an address such as {example}") from None
    if url.scheme not in schemes or not url.hostname or not text.isprintable() or " " in text:
        raise ConfigError(f"{option} is an address such as {example}")
    return url, port
