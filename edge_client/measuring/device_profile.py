"""The profile of this device: the one that the user names, else the kept one, else one measured in a few seconds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.idle_memory import release_idle_memory
from edge_client.encoding.local_detector import LocalRuntime
from edge_client.measuring.core_share import CoreShare
from edge_client.measuring.profile_cache import cached_profile, keep_profile, read_profile
from edge_client.measuring.profiling import Effort, measure, points_to_measure, profile_of
from splitnet.synthetic_images import synthetic_images

logger = logging.getLogger(__name__)

QUICK = Effort(frames=15, seconds=6.0)
IMAGES = 2  # at a few megabytes each


def find_profile(
    encoder: EncoderRuntime,
    local: LocalRuntime | None,
    device: str,
    given: Path | None,
    on_progress: Callable[[float], None],
    core_share: Callable[[], CoreShare] = CoreShare,
) -> DeviceProfile:
    """Return the profile of this device, as `device_fingerprint` names it, and of the encoder's bundle.

    given: the file that the user names. on_progress: called with the share that is measured, 0..1. What is measured
    on a busy device is not kept: it would be wrong for every later run.
    Raises ProfileError if the file is none, or of another device or bundle.
    """
    manifest = encoder.manifest
    if given is not None:
        profile = read_profile(given)
        profile.check(device, manifest.digest)
        if local is not None and profile.local_backend not in (None, local.backend):
            logger.warning(
                "%s is of a local detector by %s, here %s runs it", given, profile.local_backend, local.backend
            )
        if local is not None and profile.local_digest != local.digest:
            logger.warning("%s is of another local detector than %s: measure this device again", given, local.name)
        return profile
    kept = cached_profile(device, manifest.digest)
    if kept is not None and (local is None or _is_of(kept, local)):
        return kept
    logger.info("measuring this device once, a few seconds")
    points = points_to_measure(manifest, manifest.qualities // 2, local is not None)
    images, core = synthetic_images(IMAGES), core_share()
    measured = measure(encoder, local, images, points, QUICK, on_progress)
    complaint = None if "cuda" in device else core.complaint()  # who waits for a GPU takes no core
    profile = profile_of(manifest, device, measured, local)
    if complaint is not None:
        logger.warning("%s: these times are for this run alone; edge-client profile keeps better ones", complaint)
    elif (path := keep_profile(profile)) is not None:
        logger.info("what was measured is kept in %s", path)
    del images
    release_idle_memory()  # above all the images'
    return profile


def _is_of(profile: DeviceProfile, local: LocalRuntime) -> bool:
    """Return whether a profile's local detector is this one, run by the same."""
    return (profile.local_backend, profile.local_digest) == (local.backend, local.digest)
