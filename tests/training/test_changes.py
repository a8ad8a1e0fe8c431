"""Tables of changes, fitted on clips and put into a bundle."""

from __future__ import annotations

import shutil
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import load_device, load_server
from splitnet.codec.change_contexts import CHANGE_CONTEXTS, FLAG_CONTEXTS
from splitnet.codec.references import ReferenceStore
from training.__main__ import main
from training.change_tables import ChangeCounts
from training.data.clips import PAN_FRAMES, pan


@pytest.fixture
def clip(tmp_path, photo):
    """Return a video of 6 frames in which a grey square moves over a photograph."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (160, 120))
    for number in range(6):
        frame = cv2.resize(photo, (160, 120))
        frame[40:80, 10 * number : 10 * number + 40] = 128
        writer.write(frame)
    writer.release()
    return path


def test_a_bundle_gets_tables_that_both_ends_code_by(tmp_path, tiny_bundle, clip):
    folder = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, folder)
    assert main(["changes", "--bundle", str(folder), "--clips", str(clip)]) == 0
    device, server = load_device(folder), load_server(folder)
    assert device.manifest.digest != load_device(tiny_bundle).manifest.digest
    latent = device.encoder.latent(np.full((32, 48, 3), 90, np.uint8), 1)
    whole = device.encoder.quantise(latent, 1, 0)
    first = server.codec.decode(device.codec.compress(whole, 1, 0)).as_reference(1)
    near = device.encoder.quantise_near(latent + 0.01, 1, 0, first.symbols, 0.5)
    store = ReferenceStore()
    store.put(first)
    decoded = server.codec.decode(device.codec.changes.compress(near, 1, 0, first), store)
    assert (decoded.symbols == near).all()


def test_a_reference_holds_until_the_latent_leaves_its_step(device):
    spec = device.manifest
    gains = device.encoder.gains[0, 0]
    latent = torch.from_numpy(np.full((spec.latent_channels, 1, 2), 1.6, np.float32) / gains)
    held = np.ones((spec.latent_channels, 1, 2), np.int16)
    held[:, :, 1] = 4
    near = device.encoder.quantise_near(latent, 1, 0, held, 0.25)
    assert (near[:, :, 0] == 1).all()  # 0.6 away
    assert (near[:, :, 1] == 2).all()
    assert (device.encoder.quantise_near(latent, 1, 0, held, 0.0) == 2).all()


def test_what_is_counted_is_what_is_coded(device):
    channels, qualities = device.manifest.latent_channels, device.manifest.qualities
    counts = ChangeCounts(device.encoder, device.codec.model.likeliest, 0.0)
    still = torch.zeros(channels, 2, 2)
    counts.add([still, still, still], 1)
    flags = counts._counts[:, :FLAG_CONTEXTS]
    assert flags.sum() == qualities * (2 + 1) * 4  # two frames at lag 1, one at lag 2, four positions each
    assert counts._counts[:, FLAG_CONTEXTS:].sum() == 0
    model = counts.fit()
    assert model.change_index.shape == (qualities, channels, CHANGE_CONTEXTS)


def test_a_pan_moves_evenly_and_stays_inside(photo):
    frames = list(pan(photo, np.random.default_rng(3)))
    assert len(frames) == PAN_FRAMES
    assert {frame.shape for frame in frames} == {(360, 480, 3)}
    shifts = [cv2.phaseCorrelate(*(np.float32(f[..., 1]) for f in pair))[0] for pair in pairwise(frames)]
    assert np.ptp(np.array(shifts), axis=0).max() < 1.0
    assert np.abs(shifts[0]).max() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--fps", "0"], "--fps must be positive"), (["--clip-frames", "1"], "--clip-frames at least 2")],
)
def test_numbers_that_cannot_be_are_refused(tiny_bundle, clip, options, message, capsys):
    assert main(["changes", "--bundle", str(tiny_bundle), "--clips", str(clip), *options]) == 2
    assert message in capsys.readouterr().err


def test_a_clip_that_cannot_be_read_is_named(tmp_path, tiny_bundle, capsys):
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    assert main(["changes", "--bundle", str(tiny_bundle), "--clips", str(empty)]) == 2
    assert "empty.mp4 holds no two frames" in capsys.readouterr().err
