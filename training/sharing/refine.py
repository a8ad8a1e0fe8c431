"""The joints of a merged detector trained for some steps, all else frozen: what that adds to the closed form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor

from splitnet.extras import progress
from splitnet.nn.detector import IMAGE
from splitnet.nn.graph import needed_after, run_to
from splitnet.nn.merged import Merged
from training.data.images import read_image
from training.detectors.family import family_of
from training.sharing.members import Member, square_of

# Adam's largest step, relative to the root mean square of what it trains; it falls to nothing along a cosine. A map in
# closed form is near its best: with 0.001 for all maps, one of 1,728 columns was worse after 200 steps than before.
RATE = 0.01
BATCH = 2
FEATURE_WEIGHT = 1.0


def refine(donor: Member, recipient: Member, merged: Merged, images: Sequence[Path], steps: int, task: str) -> None:
    """Train the joints, in place, towards what the recipient computes itself: its features and its predictions.

    No labels. A joint that copies has nothing to train.
    """
    trained = list(merged.joints.parameters())  # those that copy have none
    if not trained or not steps:
        return
    for parameter in trained:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam([{"params": [one], "lr": RATE * _size(one)} for one in trained])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    error = family_of(recipient.detector.name).reading.error
    needed = needed_after(recipient.nodes, merged.spec.cut)
    batches = _batches(images, recipient)
    for _ in progress(range(steps), unit="step", desc=task):
        image = next(batches)
        with torch.no_grad():
            own = run_to(recipient.nodes, {IMAGE: image}, [*needed, "raw"])
            names = merged.spec.donor_tensors if merged.spec.is_prefix else ()
            features = {IMAGE: image, **run_to(donor.nodes, {IMAGE: image}, names)}
        joined = merged.joined(features)
        raw = merged.behind(joined)
        loss = error(raw, own["raw"]) + FEATURE_WEIGHT * _distance(joined, {name: own[name] for name in needed})
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        schedule.step()
    for parameter in trained:
        parameter.requires_grad_(False)


def _size(parameter: Tensor) -> float:
    return max(float(parameter.detach().square().mean().sqrt()), 1e-6)


def _distance(joined: dict[str, Tensor], own: dict[str, Tensor]) -> Tensor:
    """Return the squared error of features relative to their variance, the mean over tensors."""
    parts = [(joined[name] - x).square().mean() / x.var().clamp(min=1e-6) for name, x in own.items()]
    return torch.stack(parts).mean()


def _batches(images: Sequence[Path], recipient: Member) -> Iterator[Tensor]:
    found: list[Tensor] = []
    for path in cycle(images):
        frame = read_image(path)
        if frame is not None:
            found.append(square_of(frame, recipient.manifest.input_size, recipient.fills)[0])
        if len(found) == BATCH:
            yield torch.cat(found)
            found.clear()
