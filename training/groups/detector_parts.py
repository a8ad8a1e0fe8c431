"""A group whose devices each make some channels of a split detector's latent.

Each part is a thin network that learns its channels from the bundle's own full front. Decoder and the rest of the
detector stay as they are.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splitnet.bundle import load_device
from splitnet.errors import ConfigError
from splitnet.groups.part_kinds import ThinFrontSpec
from splitnet.settings import count, option
from training.data.images import find_images
from training.groups.detector_export import export_detector_group
from training.groups.front_samples import FrontSamples, front_samples
from training.groups.thin_part import TrainedThinFront

log = logging.getLogger(__name__)
CHECKPOINT = "parts.pt"
MEASURED = 512  # samples that means and variances are taken from
WARM_UP_STEPS = 100
SAVE_EVERY = 200
NORMALISED = 256  # samples that normalisation is measured on before the first step
SOLVED, BATCH_SOLVED, RIDGE = 1600, 16, 1e-4  # samples that the last layers are solved on


@dataclass(frozen=True)
class GroupDetectorSettings:
    """Which bundle to share out among how many devices, and how long to learn."""

    bundle: Path = option("the split detector's bundle", metavar="DIR")
    images: Sequence[Path] = option("folders of images like those it will see", metavar="DIR", nargs="+")
    run: Path = option("where samples and the checkpoint are kept", metavar="DIR")
    out: Path = option("where the group's bundle goes; its name is its own", metavar="DIR")
    exclude: Sequence[Path] = option("COCO annotations of images never to be trained on", default=(), nargs="*")
    parts: int = option("devices", default=4, type=count)
    minutes: float = option("how long to train by gradients; 0: the last layers are solved, and no more", default=30.0)
    samples: int = option("images to learn from, at most", default=6000, type=count)
    stem: int = option("channels of a part at stride 4", default=16, type=count)
    middle: int = option("the same at stride 8", default=40, type=count)
    wide: int = option("the same at stride 16", default=96, type=count)
    batch_size: int = option("images a step", default=24, type=count)
    learning_rate: float = option("of AdamW, at its highest", default=1e-3)
    seed: int = option("of what is drawn", default=1)
    threads: int = option("CPU threads", default=1, type=count)


@dataclass(frozen=True)
class PartsPlan:
    """Which channels each part makes, and what they are measured by: means and variances (C,) at the middle gain."""

    channels: tuple[tuple[int, ...], ...]
    gains: Tensor  # (qualities, C), of the source bundle's full width
    mean: Tensor
    variance: Tensor

    @property
    def gain(self) -> Tensor:
        """The gains (C,) of the middle quality."""
        return self.gains[len(self.gains) // 2]


def make_group(settings: GroupDetectorSettings) -> str:
    """Train and write a group's bundle; returns what there is to say. ConfigError if something cannot be used."""
    source = load_device(settings.bundle)
    if settings.parts > source.manifest.latent_channels:
        raise ConfigError(f"{settings.bundle} has {source.manifest.latent_channels} channels: fewer --parts")
    images = find_images(settings.images, settings.exclude)
    drawn = np.random.default_rng(settings.seed).permutation(len(images))[: settings.samples]
    chosen = [images[number] for number in sorted(drawn)]
    samples = front_samples(settings.run, source, chosen)
    plan = plan_of(samples, torch.from_numpy(source.encoder.gains[-1, :, :, 0, 0]), settings.parts)
    networks = train(samples, plan, settings)
    every = max(1, len(chosen) // 200)
    manifest = export_detector_group(settings.out, settings.bundle, plan, networks, chosen[::every])
    return f"wrote {settings.out} ({manifest.digest[:12]}); now measure it: python -m benchmarks group-detection --help"


def plan_of(samples: FrontSamples, gains: Tensor, parts: int) -> PartsPlan:
    """Deal channels out so that parts vary about equally. gains: (qualities, C); the middle one is the unit."""
    _, latents = samples.batch(np.arange(min(MEASURED, len(samples.latents))))
    scaled = latents * gains[len(gains) // 2][:, None, None]
    mean, variance = scaled.mean((0, 2, 3)), scaled.var((0, 2, 3))
    channels: list[list[int]] = [[] for _ in range(parts)]
    for rank, channel in enumerate(torch.argsort(variance, descending=True).tolist()):
        place = rank % (2 * parts)  # there and back, as players are chosen
        channels[min(place, 2 * parts - 1 - place)].append(channel)
    return PartsPlan(tuple(tuple(sorted(part)) for part in channels), gains, mean, variance)


def train(samples: FrontSamples, plan: PartsPlan, settings: GroupDetectorSettings) -> list[TrainedThinFront]:
    """Return the networks of all parts, from the run's checkpoint if there is one, else trained for so long."""
    torch.manual_seed(settings.seed)
    networks = nn.ModuleList(
        TrainedThinFront(ThinFrontSpec(len(own), settings.stem, settings.middle, settings.wide))
        for own in plan.channels
    )
    kept = settings.run / CHECKPOINT
    state: dict[str, Any] = torch.load(kept, weights_only=True) if kept.exists() else {}
    if state:
        networks.load_state_dict(state["networks"])
    else:
        _begin(networks, samples, plan)
    if not state.get("done") and settings.minutes > 0:
        _learn(networks, samples, plan, settings, kept)
    trained = [one.eval() for one in networks if isinstance(one, TrainedThinFront)]
    if settings.minutes > 0:  # else they are solved already
        solve_last(trained, samples, plan)
    return trained


def _begin(networks: nn.ModuleList, samples: FrontSamples, plan: PartsPlan) -> None:
    """Measure what normalises the networks, and solve their last layers: so training begins with what is to be had."""
    networks.train()
    with torch.no_grad():
        for begin in range(0, min(NORMALISED, len(samples.images)), BATCH_SOLVED):
            images, _ = samples.batch(np.arange(begin, min(begin + BATCH_SOLVED, len(samples.images))))
            for network in networks:
                network(images)
    solve_last([one.eval() for one in networks if isinstance(one, TrainedThinFront)], samples, plan)


def _learn(
    networks: nn.ModuleList, samples: FrontSamples, plan: PartsPlan, settings: GroupDetectorSettings, kept: Path
) -> None:
    networks.eval()  # normalisation stays as it was measured: what was solved on it would not fit any more
    optimiser = torch.optim.AdamW(networks.parameters(), settings.learning_rate, weight_decay=1e-4)
    drawn, begin, step, progress = np.random.default_rng(settings.seed), time.monotonic(), 0, 0.0
    while progress < 1.0:
        progress = min(1.0, (time.monotonic() - begin) / (60 * settings.minutes))
        rate = min(1.0, (step + 1) / WARM_UP_STEPS) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * rate + 1e-5
        chosen = np.sort(
            drawn.choice(len(samples.images), min(settings.batch_size, len(samples.images)), replace=False)
        )
        loss = _loss(networks, plan, *samples.batch(chosen))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % SAVE_EVERY == 0 or progress == 1.0:
            log.info("step %d: loss %.3f, of %.3f at first", step, loss.item(), plan.variance.sqrt().sum().item())
            torch.save({"networks": networks.state_dict(), "step": step, "done": progress == 1.0}, kept)


@torch.inference_mode()
def solve_last(networks: Sequence[TrainedThinFront], samples: FrontSamples, plan: PartsPlan) -> None:
    """Give each network the last layer that is best for the others as they are, in closed form (ridge regression)."""
    sides = [
        (torch.zeros(one.spec.wide + 1, one.spec.wide + 1), torch.zeros(one.spec.wide + 1, len(own)))
        for one, own in zip(networks, plan.channels, strict=True)
    ]
    for begin in range(0, min(SOLVED, len(samples.images)), BATCH_SOLVED):
        images, latents = samples.batch(np.arange(begin, min(begin + BATCH_SOLVED, len(samples.images))))
        wanted = latents * plan.gain[:, None, None] - plan.mean[:, None, None]
        for network, own, (square, across) in zip(networks, plan.channels, sides, strict=True):
            found = network.features(images).movedim(1, -1).flatten(0, 2)
            found = torch.cat([found, torch.ones(len(found), 1)], 1)
            square += found.T @ found
            across += found.T @ wanted[:, list(own)].movedim(1, -1).flatten(0, 2)
    for network, (square, across) in zip(networks, sides, strict=True):
        square += RIDGE * square.diagonal().mean() * torch.eye(len(square))
        weights = torch.linalg.solve(square.double(), across.double()).float()
        assert network.out.bias is not None
        network.out.weight.copy_(weights[:-1].T[:, :, None, None])
        network.out.bias.copy_(weights[-1])


def _loss(networks: nn.ModuleList, plan: PartsPlan, images: Tensor, latents: Tensor) -> Tensor:
    """Return the squared errors of all channels, each over its standard deviation: the loud do not drown the rest."""
    wanted = latents * plan.gain[:, None, None] - plan.mean[:, None, None]
    total = torch.zeros(())
    for network, own in zip(networks, plan.channels, strict=True):
        index = list(own)
        errors = (network(images) - wanted[:, index]).square().mean((0, 2, 3))
        total = total + (errors / plan.variance[index].sqrt().clamp(min=1e-6)).sum()
    return total
