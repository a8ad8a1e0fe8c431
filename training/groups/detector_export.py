"""Trained parts of a detector's latent become a group's bundle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from splitnet.bundle import load_server
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.groups.group_bundle import PartWeights, save_group
from splitnet.groups.group_manifest import GroupManifest
from splitnet.groups.group_tasks import DetectionGroup
from splitnet.groups.part_kinds import ThinFront
from splitnet.manifest import Manifest
from training.data.images import read_image
from training.entropy_tables import Symbols, fit_tables
from training.groups.thin_part import TrainedThinFront

if TYPE_CHECKING:
    from training.groups.detector_parts import PartsPlan

ORIGIN = "Parts distilled in this project from the front of the bundle {name}, whose server half it has. {origin}"


def export_detector_group(
    folder: Path, source: Path, plan: PartsPlan, networks: Sequence[TrainedThinFront], images: Sequence[Path]
) -> GroupManifest:
    """Write a group's bundle; returns its manifest. images: tables and what stands for lost parts are fitted on them.

    ConfigError if no image is readable.
    """
    server = load_server(source)
    of = server.manifest
    deployed = [
        _rounded(one.folded(plan.gain[list(own)], plan.mean[list(own)]))
        for one, own in zip(networks, plan.channels, strict=True)
    ]
    latents = _latents(deployed, of, images)
    parts = [
        _part(network, plan.gains[:, list(own)], [one[number] for one in latents])
        for number, (network, own) in enumerate(zip(deployed, plan.channels, strict=True))
    ]
    manifest = _manifest(folder, of, plan, networks)
    half = DetectionGroup(manifest)
    half.decoder.load_state_dict(server.half.decoder.state_dict())
    half.detector.load_state_dict(server.half.detector.state_dict())
    half.inverse_gains.copy_(server.half.inverse_gains[-1])
    _fit_filling(half, plan, latents)
    return save_group(folder, manifest, parts, half)


def _manifest(folder: Path, of: Manifest, plan: PartsPlan, networks: Sequence[TrainedThinFront]) -> GroupManifest:
    return GroupManifest(
        name=folder.resolve().name,
        task="detection",
        input_size=of.input_size,
        stretches=of.encoder.stretches,
        class_names=of.class_names,
        qualities=of.qualities,
        networks=tuple(one.spec for one in networks),
        server=_as_read(
            {
                "detector": of.detector,
                "split_point": of.split_point,
                "encoder": of.encoder.to_json(),
                "decoder": None if of.decoder is None else dict(vars(of.decoder)),
                "channels": plan.channels,
            }
        ),
        files={},
        origin=ORIGIN.format(name=of.name, origin=of.origin),
        licence=of.licence,
    )


def _as_read(values: dict[str, Any]) -> dict[str, Any]:
    """Return JSON values as they come back from a file: lists for tuples."""
    read: dict[str, Any] = json.loads(json.dumps(values))
    return read


def _rounded(network: ThinFront) -> ThinFront:
    """Return a network with the weights that will be stored: the tables must see those."""
    network.load_state_dict({key: value.half().float() for key, value in network.state_dict().items()})
    return network


@torch.inference_mode()
def _latents(networks: Sequence[ThinFront], of: Manifest, images: Sequence[Path]) -> list[list[Tensor]]:
    """Return what each part (C, h, w) is of each image."""
    found: list[list[Tensor]] = []
    for path in progress(images, unit="image"):
        image = read_image(path)
        if image is not None:
            canvas = of.fit(image.shape[1], image.shape[0], of.widths).apply(image)
            pixels = torch.from_numpy(canvas).permute(2, 0, 1)[None].float()
            found.append([network(pixels)[0] for network in networks])
    if not found:
        raise ConfigError("none of the images can be read: nothing to fit tables on")
    return found


def _part(network: ThinFront, gains: Tensor, latents: Sequence[Tensor]) -> PartWeights:
    def quantise(latent: Tensor, _: int, quality: int) -> Symbols:
        return np.asarray(torch.round(latent * gains[quality][:, None, None]).to(torch.int16).numpy(), np.int16)

    return PartWeights(network, gains[None].contiguous(), fit_tables([latents], len(gains), quantise))


def _fit_filling(half: DetectionGroup, plan: PartsPlan, latents: Sequence[Sequence[Tensor]]) -> None:
    """Measure mean and covariance of all channels at one position."""
    order = [channel for own in plan.channels for channel in own]
    samples = torch.cat([torch.cat([one.flatten(1) for one in image]) for image in latents], 1).double()
    whole = torch.empty_like(samples)
    whole[order] = samples
    half.filling.mean.copy_(whole.mean(1))
    half.filling.covariance.copy_(whole.cov())
