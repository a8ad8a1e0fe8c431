"""What a run needs to be one of a group: the number of the camera's run, and what hands the images on."""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path

from edge_client.capture.address import local_path
from edge_client.capture.handing_on import SharedCamera
from edge_client.config import RunConfig, address_of
from splitnet.errors import ConfigError
from splitnet.outputs.outputs_config import read_secret

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HASHED_BYTES = 1 << 20  # of a file, beside its size

logger = logging.getLogger(__name__)


def group_password(config: RunConfig) -> str:
    """Return the password that images are handed on by; empty if there is none. Raises ConfigError."""
    path = config.group_password_file
    return "" if path is None else read_secret("--group-password-file", path)


def shared_camera(config: RunConfig) -> SharedCamera | None:
    """Return what hands this device's images on to its group, if it is to. Raises ConfigError."""
    if not config.group_listen:
        return None
    host, port = address_of("--group-listen", config.group_listen)
    password = group_password(config)
    camera = SharedCamera((host, port), password, config.group_jpeg_quality)
    if host not in LOOPBACK and not password:
        logger.warning("whoever reaches port %d sees this camera: give --group-password-file", camera.port)
    return camera


def stream_of(config: RunConfig) -> int:
    """Return the number of the camera's run: the same on all devices that read the same file, else a new one.

    Raises ConfigError if each device of a group would look at a camera of its own.
    """
    if config.place is None:
        return 0
    path = local_path(config.cameras[0].address)
    if config.group_listen:
        return secrets.randbits(64)
    if path is not None and (path.is_file() or path.is_dir()):
        return int.from_bytes(_contents(path).digest(), "big")
    if config.takes_images or config.place.parts == 1:
        return secrets.randbits(64)
    raise ConfigError(
        "all devices of a group look at one camera: give its owner --group-listen HOST:PORT, and the others "
        "--source group://HOST:PORT"
    )


def _contents(path: Path) -> hashlib.blake2b:
    """Return a hash of a file's size and beginning, or of the names and sizes of a folder's files."""
    found = hashlib.blake2b(digest_size=8)
    if path.is_dir():
        for one in sorted(path.iterdir()):
            found.update(f"{one.name}\0{one.stat().st_size}\0".encode("utf-8", "surrogateescape"))
        return found
    found.update(str(path.stat().st_size).encode())
    with path.open("rb") as file:
        found.update(file.read(HASHED_BYTES))
    return found
