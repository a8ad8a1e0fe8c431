"""The cache of profiles: one file for each device and bundle, in the user's cache folder."""

from __future__ import annotations

import json
import logging
import os
import platform
import re
from pathlib import Path

from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.backends import TORCH
from splitnet.atomic_write import write_json
from splitnet.environment import processor
from splitnet.errors import ProfileError
from splitnet.home import cache_folder

logger = logging.getLogger(__name__)

DIGEST_CHARS = 12  # of the bundle's digest in a file's name
FINGERPRINT_CHARS = 120
MAX_FILE_BYTES = 1_000_000


def device_fingerprint(device: str, threads: int, backend: str = TORCH) -> str:
    """Return what makes this device as fast as it is, as one word: "aarch64-raspberry-pi-5-4-cores-1-thread-cpu".

    device: "cpu" or "cuda", where to encode. threads: CPU threads of the encoder. backend: what runs it, as
    `backends.start_backend` returns it.
    """
    parts = [platform.machine(), processor(), f"{os.cpu_count() or 1} cores {threads} threads", _accelerator(device)]
    parts += [backend] if backend != TORCH else []
    words = re.findall(r"[a-z0-9_.]+", " ".join(parts).lower())
    return "-".join(words)[-FINGERPRINT_CHARS:]


def profile_path(device: str, bundle_digest: str) -> Path:
    """Return where the profile of a device (its fingerprint) and a bundle is kept."""
    return cache_folder() / "profiles" / f"{device}-{bundle_digest[:DIGEST_CHARS]}.json"


def read_profile(path: Path) -> DeviceProfile:
    """Return the profile in a file. Raises ProfileError if there is none."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ProfileError("too large to be a profile: measure again with edge-client profile")
        values = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(values, dict) and "profile" in values:  # written by edge-client profile --out
            values = values["profile"]
        return DeviceProfile.from_json(values)
    except (OSError, ValueError, RecursionError) as error:
        raise ProfileError(f"{path} cannot be read ({error}): measure again with edge-client profile") from error
    except ProfileError as error:
        raise ProfileError(f"{path}: {error}") from error


def cached_profile(device: str, bundle_digest: str) -> DeviceProfile | None:
    """Return the profile kept for a device and a bundle; None, with a warning if it is of no use, if there is none."""
    path = profile_path(device, bundle_digest)
    if not path.exists():
        return None
    try:
        profile = read_profile(path)
        profile.check(device, bundle_digest)
    except ProfileError as error:
        logger.warning("the kept profile is not used: %s", error)
        return None
    return profile


def keep_profile(profile: DeviceProfile) -> Path | None:
    """Write a profile where `cached_profile` finds it, all or nothing; None, with a warning, if that is impossible."""
    path = profile_path(profile.device, profile.bundle_digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, profile.to_json())
    except OSError as error:
        logger.warning("the profile cannot be kept (%s); it will be measured again next time", error)
        return None
    return path


def _accelerator(device: str) -> str:
    if device != "cuda":
        return device
    import torch  # here, because a program that shows its help can do without

    return f"cuda {torch.cuda.get_device_name()}"
