"""Export of a trained student to a bundle: fold, fit the integer tables on real symbols, store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from splitnet.bundle import BundleParts, load_server, save_bundle, save_server_half
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.manifest import Manifest
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.spec import Encoder
from splitnet.nn.split_detector import DeviceHalf, ServerHalf
from training.data.images import read_image
from training.distillation.student import Student
from training.entropy_tables import fit_tables


def export_bundle(
    folder: Path, manifest: Manifest, student: Student, detector: Detector | None, images: Sequence[Path]
) -> Manifest:
    """Write a bundle and return its manifest.

    images: training images on which the entropy tables are fitted, whole and letterboxed as frames
    will be. detector: the unsplit one for the `image` mode. ConfigError if no image is readable.
    """
    encoder = materialised(student)
    _round_to_half_precision(encoder)  # the tables must see the weights that will run
    gains, inverse_gains = (refined(each, manifest.widths, manifest.qualities) for each in student.quantiser.gains())
    gains = gains * for_widths(sent_at(student.quantiser.sent, manifest.qualities), manifest.widths)
    device = DeviceHalf(encoder, gains)
    latents = image_latents(device, manifest, images)
    model = fit_tables(latents, device.qualities, device.quantise)
    server = ServerHalf(student.decoder, student.tail, inverse_gains, manifest.input_size)
    parts = BundleParts(manifest, encoder, gains, model, server, detector)
    return save_bundle(folder, parts)


def export_completion(
    folder: Path, manifest: Manifest, student: Student, detector: Detector, completed: Path
) -> Manifest:
    """Write a bundle with the device half of another one (`CompletedBundle`); returns its manifest.

    BundleError if the classes of the two differ.
    """
    inverse_gains = load_server(completed).half.inverse_gains
    server = ServerHalf(student.decoder, student.tail, inverse_gains, manifest.input_size)
    return save_server_half(folder, manifest, completed, server, detector)


def materialised(student: Student) -> Encoder:
    """Return the full-width encoder as it will run, with weights of its own."""
    return student.kind.materialise(student.encoder)


def refined(gains: Tensor, widths: int, qualities: int) -> Tensor:
    """Return gains (trained widths, trained qualities, L) for all widths, and for as many qualities as are wanted.

    Between two trained qualities lie geometric means of their gains, whose rates lie between theirs (Cui et al., arXiv
    2003.02012). ConfigError if the trained qualities are not evenly among those wanted.
    """
    trained = gains.shape[1]
    if qualities != trained and (trained < 2 or (qualities - 1) % (trained - 1)):
        raise ConfigError(f"{qualities} qualities do not lie evenly between {trained} trained ones")
    finer = F.interpolate(gains.log().transpose(1, 2), qualities, mode="linear", align_corners=True)
    return for_widths(finer.transpose(1, 2).exp(), widths)


def for_widths(values: Tensor, widths: int) -> Tensor:
    """Return values (trained widths, ...) for all widths: those of a front repeat themselves for each of its sides."""
    return values.repeat(widths // len(values), 1, 1)


def sent_at(sent: Tensor, qualities: int) -> Tensor:
    """Return what is sent (trained widths, qualities, L), 0 or 1; between two trained qualities as at the coarser."""
    steps = sent.shape[1] - 1
    coarser = [quality * steps // max(1, qualities - 1) for quality in range(qualities)]
    return sent[:, coarser]


def image_latents(device: DeviceHalf, manifest: Manifest, images: Sequence[Path]) -> tuple[list[Tensor], ...]:
    """Return the latents (C, h, w) of images for each width, unreadable ones left out.

    manifest: says how images are fitted at each width. ConfigError if there are none: tables of nothing would code
    anything badly.
    """
    latents: tuple[list[Tensor], ...] = tuple([] for _ in range(manifest.widths))
    for path in progress(images, unit="image", desc="entropy tables"):
        frame = read_image(path)
        if frame is None:
            continue
        for width, found in enumerate(latents, start=1):
            canvas = manifest.fit(frame.shape[1], frame.shape[0], width).apply(frame)
            found.append(device.latent(canvas, width))
    if not latents[0]:
        raise ConfigError(f"none of {len(images)} images can be read to fit the entropy tables on")
    return latents


@torch.no_grad()
def _round_to_half_precision(encoder: Encoder) -> None:
    for tensor in encoder.state_dict().values():
        tensor.copy_(tensor.half().float())
