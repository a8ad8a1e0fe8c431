"""Trained students become a group's bundle, in half precision, with tables of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from splitnet.groups.filling import Filling
from splitnet.groups.group_bundle import PartWeights, save_group
from splitnet.groups.group_manifest import GroupManifest
from splitnet.groups.group_tasks import ClassificationGroup
from splitnet.groups.part_kinds import PooledConv
from training.entropy_tables import Symbols, fit_tables
from training.groups.class_images import SIDE
from training.groups.students import Group

QUALITIES = (1.0, 2.0, 4.0, 8.0)  # steps within a channel's deviation
TABLE_IMAGES = 2000
BATCH = 500
ORIGIN = "Parts distilled in this project by `python -m training group` from a teacher that was trained here."


def deployed_networks(group: Group) -> list[PooledConv]:
    """Return the networks that devices run, with the weights that will be stored."""
    networks = []
    for trained in group.networks:
        network = trained.folded()  # type: ignore[operator]
        network.load_state_dict({key: value.half().float() for key, value in network.state_dict().items()})
        networks.append(network.requires_grad_(False))
    return networks


@torch.inference_mode()
def part_features(networks: Sequence[PooledConv], images: Tensor) -> list[Tensor]:
    """Return what each part (N, C) is of images (N, 3, 32, 32) uint8."""
    rows = [[network(batch.float()).flatten(1) for network in networks] for batch in images.split(BATCH)]
    return [torch.cat([row[part] for row in rows]) for part in range(len(networks))]


def export_group(
    folder: Path,
    group: Group,
    class_names: Sequence[str],
    features: Sequence[Tensor],
    licence: str,
) -> GroupManifest:
    """Write a group's bundle; returns its manifest. features: of each part (N, C), on images without labels."""
    networks = deployed_networks(group)
    gains = [torch.tensor(QUALITIES)[:, None] / one.std(0).clamp(min=1e-3) for one in features]
    manifest = GroupManifest(
        name=folder.resolve().name,
        task="classification",
        input_size=SIDE,
        stretches=True,
        class_names=tuple(class_names),
        qualities=len(QUALITIES),
        networks=tuple(trained.spec for trained in group.networks),  # type: ignore[misc]
        server={"channels": group.positions, "filters": [list(part) for part in group.parts]},
        files={},
        origin=ORIGIN,
        licence=licence,
    )
    half = ClassificationGroup(manifest)
    half.dense.load_state_dict(group.dense.state_dict())
    half.inverse_gains.copy_(torch.cat([1 / one for one in gains], 1))
    half.filling.load_state_dict(Filling.measured(torch.cat(list(features), 1)).state_dict())
    parts = [_weights(*one) for one in zip(networks, gains, features, strict=True)]
    return save_group(folder, manifest, parts, half)


def _weights(network: PooledConv, gains: Tensor, features: Tensor) -> PartWeights:
    def quantise(latent: Tensor, _: int, quality: int) -> Symbols:
        return np.asarray(torch.round(latent * gains[quality][:, None, None]).to(torch.int16).numpy(), np.int16)

    latents = list(features[:TABLE_IMAGES, :, None, None])
    return PartWeights(network, gains[None].contiguous(), fit_tables([latents], len(gains), quantise))
