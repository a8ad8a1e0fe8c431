"""A group's bundle on disk: loaded by a device, which needs its own part alone, or by a server; and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from splitnet.atomic_write import write_atomically
from splitnet.bundle import DeviceBundle, assign, entry_of, read_weights
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.device_package import TABLES, codec_of
from splitnet.errors import BundleError, ConfigError
from splitnet.groups.group_manifest import SERVER_FILE, GroupManifest, PartManifest, load_group_manifest, part_file
from splitnet.groups.group_tasks import GroupHalf, half_of
from splitnet.nn.split_detector import DeviceHalf

if TYPE_CHECKING:
    from splitnet.manifest import Manifest

GAINS = "gains"


@dataclass(frozen=True)
class GroupServer:
    """What a server runs for a group. codecs: one for each part."""

    manifest: GroupManifest
    half: GroupHalf
    codecs: tuple[FeatureCodec, ...]


@dataclass(frozen=True)
class PartWeights:
    """What `save_group` stores of a part."""

    network: nn.Module
    gains: Tensor  # (1, qualities, channels)
    entropy_model: EntropyModel


def load_part(folder: Path, part: int, parts: int) -> DeviceBundle:
    """Load what a device needs that makes one part of so many. The other parts' files need not be there.

    BundleError if something is missing or damaged, ConfigError if the bundle has other parts.
    """
    group = load_group_manifest(folder)
    if parts != group.parts:
        raise ConfigError(f"group bundle {group.name} has {group.parts} parts: give --part K/{group.parts}")
    manifest = group.of_part(part)
    tensors = _read(folder, group, part_file(part))
    network = _PartEncoder(manifest)
    weights = {k: v for k, v in tensors.items() if k != GAINS and not k.startswith(TABLES)}
    assign(network.network, weights, part_file(part))
    half = DeviceHalf(cast(Any, network), _gains(tensors, manifest))
    return DeviceBundle(cast("Manifest", manifest), half, _codec(tensors, manifest), folder)


def load_group_server(folder: Path) -> GroupServer:
    """Load what a server needs. BundleError if something is missing or damaged."""
    group = load_group_manifest(folder)
    numbers = range(1, group.parts + 1)
    tables = [_read(folder, group, part_file(part)) for part in numbers]
    manifests = [group.of_part(part) for part in numbers]
    half = half_of(group)
    assign(half, _read(folder, group, SERVER_FILE), SERVER_FILE)
    codecs = tuple(_codec(one, manifest) for one, manifest in zip(tables, manifests, strict=True))
    return GroupServer(group, half.eval(), codecs)


def save_group(folder: Path, manifest: GroupManifest, parts: Sequence[PartWeights], half: GroupHalf) -> GroupManifest:
    """Write a group's bundle; returns its manifest, whose `files` are made anew."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {part_file(number): save_tensors(_part_tensors(part)) for number, part in enumerate(parts, start=1)}
    server = {k: v.detach().cpu().contiguous() for k, v in half.state_dict().items()}
    contents[SERVER_FILE] = save_tensors({k: v if k in half.exact else v.half() for k, v in server.items()})
    for name, data in contents.items():
        write_atomically(folder / name, data)
    written = replace(manifest, files={name: entry_of(data) for name, data in contents.items()})
    written.write(folder)
    return written


class _PartEncoder(nn.Module):
    """A part's network, with the names of an `Encoder` that `DeviceHalf` asks for."""

    def __init__(self, manifest: PartManifest) -> None:
        super().__init__()
        self.spec = manifest.network
        self.network = manifest.network.make()

    def narrow(self, width: int) -> nn.Module:
        """Return the network: there is one width."""
        return self.network


def _part_tensors(part: PartWeights) -> dict[str, Tensor]:
    weights = {k: v.detach().cpu().half().contiguous() for k, v in part.network.state_dict().items()}
    tables = {TABLES + k: torch.from_numpy(v.astype("int32")) for k, v in part.entropy_model.to_arrays().items()}
    return {**weights, GAINS: part.gains.float().contiguous(), **tables}


def _read(folder: Path, group: GroupManifest, name: str) -> dict[str, Tensor]:
    entry = group.files.get(name)
    if entry is None:
        raise BundleError(f"{folder}: the manifest lists no {name}; copy the bundle again")
    return read_weights(folder / name, entry)


def _gains(tensors: Mapping[str, Tensor], manifest: PartManifest) -> Tensor:
    shape = (1, manifest.qualities, manifest.latent_channels)
    gains = tensors.get(GAINS)
    if gains is None or tuple(gains.shape) != shape or not bool((gains >= 0).all()):
        raise BundleError(f"{part_file(manifest.part)}: the gains must be of shape {shape}, none below zero")
    return gains.float()


def _codec(tensors: Mapping[str, Tensor], manifest: PartManifest) -> FeatureCodec:
    arrays = {key: tensor.numpy() for key, tensor in tensors.items() if key.startswith(TABLES)}
    return codec_of(cast("Manifest", _CodecManifest(manifest)), arrays, _gains(tensors, manifest).numpy())


class _CodecManifest:
    """What a codec asks of a manifest. Its positions are counted at a stride of 16 pixels."""

    def __init__(self, manifest: PartManifest) -> None:
        self.widths, self.qualities = manifest.widths, manifest.qualities
        self.latent_channels, self.latent_size = manifest.latent_channels, manifest.latent_size
        self.device_digest = manifest.codec_digest
        self.sides = (16 * manifest.latent_size[1],)
