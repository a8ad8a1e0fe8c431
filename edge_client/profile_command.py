"""The command `edge-client profile`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import islice
from threading import Event

from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.profile import DeviceProfile
from edge_client.capture.address import open_source
from edge_client.capture.source import SourceSettings
from edge_client.console import Console
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from edge_client.encoding.local_detector import LocalRuntime, load_local
from edge_client.frames import Image
from edge_client.measuring.core_share import CoreShare
from edge_client.measuring.energy import find_meter
from edge_client.measuring.frame_energy import UNKNOWN, EnergyProfile, measure_energy
from edge_client.measuring.link_probe import measure_link, probe_frames
from edge_client.measuring.profile_cache import device_fingerprint, keep_profile
from edge_client.measuring.profiling import (
    Effort,
    measure,
    points_to_measure,
    profile_of,
    profile_table,
    profile_to_json,
)
from edge_client.output.advice import advice
from edge_client.output.mode_scores import RunConditions
from edge_client.policy_choice import mode_tables
from edge_client.profile_config import ProfileConfig
from edge_client.run_command import what_runs, write_result
from edge_client.servers_config import default_device_id
from edge_client.transport.credentials import Credentials
from edge_client.transport.tls_files import tls_files
from splitnet.messages import OpenSession
from splitnet.operating_point import OperatingPoint
from splitnet.synthetic_images import synthetic_images

SYNTHETIC_IMAGES = 8  # enough that the entropy coder does not always see the same


def profile(config: ProfileConfig, console: Console) -> None:
    """Measure this device, and the way to a server if one is given. Raises SplitError."""
    encoder = load_encoder(config.bundle, config.device, config.threads, config.backend)
    manifest = encoder.manifest
    local = load_local(config.bundle, manifest, config.device, config.threads, config.backend)
    console.say(what_runs(encoder, local))
    images = _images(config)
    quality = manifest.qualities // 2 if config.quality is None else config.quality
    points = points_to_measure(manifest, quality, local is not None)
    effort = Effort(config.frames, config.seconds)
    core = CoreShare()
    measured = measure(encoder, local, images, points, effort, console.show_progress)
    complaint = None if config.device == "cuda" else core.complaint()
    device = device_fingerprint(config.device, config.threads, encoder.backend)
    found = profile_of(manifest, device, measured, local)
    console.say(profile_table(measured))
    if complaint is not None:
        console.say(f"{complaint}: measure again when it is idle")
    energy = _energy(config, encoder, local, images, points, console)
    if (path := keep_profile(found)) is not None:
        console.say(f"kept in {path}")
    if config.out is not None:
        size = images[0].shape[1], images[0].shape[0]
        result = profile_to_json(found, manifest.name, size, measured, encoder.backend)
        write_result(config.out, {**result, "energy": None if energy is None else energy.to_json()})
        console.say(f"written to {config.out}")
    if config.server:
        console.say("\n".join(_advice(config, encoder, images[0], found)))


def _energy(
    config: ProfileConfig,
    encoder: EncoderRuntime,
    local: LocalRuntime | None,
    images: Sequence[Image],
    points: Sequence[OperatingPoint],
    console: Console,
) -> EnergyProfile | None:
    """Measure what a frame costs the board, where it knows; say so, or that it does not."""
    if config.no_energy:
        return None
    meter = find_meter()
    energy = None if meter is None else measure_energy(meter, encoder, local, images, points)
    console.say(UNKNOWN if energy is None else energy.to_text())
    return energy


def _advice(config: ProfileConfig, encoder: EncoderRuntime, image: Image, found: DeviceProfile) -> list[str]:
    """Measure the way to a server and say which mode would serve best."""
    manifest = encoder.manifest
    opening = OpenSession(default_device_id(), manifest.device_digest)
    size = image.shape[1], image.shape[0]
    credentials = Credentials(tls_files(config))
    frames, use_proxy = probe_frames(encoder, image), config.use_proxy
    measured = asyncio.run(
        measure_link(config.server, opening, *frames, size, use_proxy=use_proxy, credentials=credentials)
    )
    limits = ControlSettings(config.deadline_ms)
    conditions = RunConditions(limits, config.fps, measured.capacity_bps, measured.rtt_ms, measured.server_ms)
    return advice(mode_tables(manifest, found), conditions)


def _images(config: ProfileConfig) -> list[Image]:
    if not config.source:
        return synthetic_images(SYNTHETIC_IMAGES)
    source = open_source(config.source, SourceSettings(fps=1, patience_s=0))
    return [shown.image for shown in islice(source.images(Event().wait), config.frames)]
