"""A group's bundle with random weights, of three parts, made from a tiny bundle's server half."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from splitnet.bundle import load_server
from splitnet.codec.entropy_model import EntropyModel
from splitnet.groups.group_bundle import PartWeights, save_group
from splitnet.groups.group_manifest import GroupManifest
from splitnet.groups.group_tasks import DetectionGroup
from splitnet.groups.part_kinds import ThinFrontSpec

PARTS = 3


def write_tiny_group(folder: Path, source: Path, seed: int = 0) -> GroupManifest:
    """Write a group of three parts for the detector of a bundle; another seed gives another digest."""
    torch.manual_seed(seed)
    server = load_server(source)
    of = server.manifest
    channels = [list(range(part, of.latent_channels, PARTS)) for part in range(PARTS)]
    networks = tuple(ThinFrontSpec(len(own), stem=4, middle=6, wide=8, kernel=3) for own in channels)
    manifest = GroupManifest(
        name=f"group-{seed}",
        task="detection",
        input_size=of.input_size,
        stretches=False,
        class_names=of.class_names,
        qualities=of.qualities,
        networks=networks,
        server={
            "detector": of.detector,
            "split_point": of.split_point,
            "encoder": of.encoder.to_json(),
            "decoder": None if of.decoder is None else vars(of.decoder),
            "channels": channels,
        },
        files={},
    )
    half = DetectionGroup(manifest)
    half.decoder.load_state_dict(server.half.decoder.state_dict())
    half.detector.load_state_dict(server.half.detector.state_dict())
    gains = torch.tensor([0.5, 1.0, 2.0])[: of.qualities, None].expand(of.qualities, of.latent_channels)
    half.inverse_gains.copy_(1 / gains)
    half.filling.mean.copy_(torch.linspace(-1, 1, of.latent_channels))
    parts = [
        PartWeights(spec.make(), gains[None, :, : len(own)].contiguous(), _tables(len(own), of.qualities))
        for spec, own in zip(networks, channels, strict=True)
    ]
    return save_group(folder, manifest, parts, half)


def _tables(channels: int, qualities: int) -> EntropyModel:
    symbols = np.abs(np.arange(-16, 17))
    counts = np.round(1000 * np.exp(-symbols / 2.0)).astype(np.int64)
    return EntropyModel.fit(np.broadcast_to(counts, (1, qualities, channels, 33)).copy())
