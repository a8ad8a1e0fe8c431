"""The command `edge-client enrol`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from edge_client.console import Console
from edge_client.transport.servers import split_address
from splitnet.enrolment_link import read_enrolment_link
from splitnet.errors import ConfigError, SourceError
from splitnet.settings import option

QR_PATIENCE_S = 120.0


@dataclass(frozen=True)
class EnrolConfig:
    """Settings of `edge-client enrol`."""

    server: str = option("where the server enrols devices", default="", metavar="HOST:PORT")
    code: str = option("what `cloud-server devices invite` has printed", default="", metavar="ABCD-1234")
    qr: str = option("read both from the QR code of the invitation, in front of this camera", default="", metavar="SRC")
    identity: Path | None = option("folder for key and identity, if not the user's own", default=None, metavar="DIR")

    def __post_init__(self) -> None:
        """Raise ConfigError unless there is a server and a code, or a camera."""
        if bool(self.qr) == bool(self.server and self.code) or (self.qr and (self.server or self.code)):
            raise ConfigError("give --server and --code, or --qr SRC")
        if self.server:
            split_address(self.server)


def enrol(config: EnrolConfig, console: Console) -> None:
    """Enrol this device. Raises SplitError."""
    from edge_client.transport.enrolment import enrol as enrol_at

    server, code = _seen(config.qr, console) if config.qr else (config.server, config.code)
    identity, folder = asyncio.run(enrol_at(server, code, config.identity))
    extra = "" if config.identity is None else f" --identity {folder}"
    console.say(f"this device is {identity.device_id} now; its key is kept in {folder}")
    console.say(f"run it with:  edge-client run --server {identity.server} --source 0{extra}")


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False


def _seen(source: str, console: Console) -> tuple[str, str]:
    """Return server and code of a QR code that a camera sees. Raises SourceError, ConfigError."""
    import cv2

    from edge_client.capture.address import open_source
    from edge_client.capture.source import SourceSettings

    console.say("show the QR code of the invitation to the camera")
    detector, until = cv2.QRCodeDetector(), time.monotonic() + QR_PATIENCE_S
    for shown in open_source(source, SourceSettings(fps=5.0, patience_s=5.0)).images(_slept):
        if text := detector.detectAndDecode(shown.image)[0]:
            return read_enrolment_link(text)
        if time.monotonic() > until:
            break
    raise SourceError("no QR code was seen: hold it nearer, or give --server and --code")
