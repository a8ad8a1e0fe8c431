"""Pans are found, and only where they are some."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_client.encoding.latent_coder import UNSEARCHED, LatentCoder
from edge_client.encoding.pan_search import STILL, likely_shift
from edge_client.encoding.references import SentReferences
from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.codec.change_codec import DecodedLatent
from splitnet.codec.changes_header import unpack
from splitnet.codec.references import MAX_REFERENCES, ReferenceStore
from splitnet.operating_point import Codec, OperatingPoint

POINT = OperatingPoint(Codec.RANS, 1, 1)
SIDE = 16


def world(seed: int = 0, side: int = 2 * SIDE) -> np.ndarray:
    """Return a scene (12, side, side) larger than a frame, smooth as scenes are, in units of a symbol's step."""
    drawn = np.random.default_rng(seed).normal(0, 6, (12, side, side))
    return drawn + np.roll(drawn, 1, 1) + np.roll(drawn, 1, 2)


def view(scene: np.ndarray, row: int, column: int) -> np.ndarray:
    return np.rint(scene[:, row : row + SIDE, column : column + SIDE]).astype(np.int16)


@pytest.mark.parametrize("way", [(0, 0), (1, 0), (0, -1), (-3, 2), (5, -6)])
def test_a_scene_that_has_moved_is_found_where_it_is(way):
    scene, (down, right) = world(), way
    assert likely_shift(view(scene, 8 - down, 8 - right), view(scene, 8, 8)) == way


def test_noise_and_a_moving_part_do_not_hide_that_the_rest_has_moved():
    scene, noise = world(), np.random.default_rng(1).normal(0, 2, (12, SIDE, SIDE))
    now = view(scene, 7, 6) + np.rint(noise).astype(np.int16)
    now[:, 4:8, 4:8] = view(world(seed=2), 0, 0)[:, :4, :4]
    assert likely_shift(now, view(scene, 8, 8)) == (1, 2)


def test_frames_in_which_there_is_nothing_have_not_moved():
    nothing = np.zeros((12, 3, 4), np.int16)
    assert likely_shift(nothing, nothing) == STILL
    assert likely_shift(nothing, nothing + 7) in {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1, 2)}


@pytest.mark.parametrize("channels", [1, 3, 9])
def test_any_number_of_channels_will_do(channels):
    scene = world()[:channels]
    assert likely_shift(view(scene, 8, 8), view(scene, 8, 9)) == (0, 1)


class Session:
    """Both ends of a link on which nothing goes missing."""

    def __init__(self, device: DeviceBundle, server: ServerBundle) -> None:
        self.coder, self.references, self.store = LatentCoder(device), SentReferences(), ReferenceStore()
        self.references.allow(MAX_REFERENCES)
        self.gains, self.device, self.server, self.frame_id = device.encoder.gains[0, 1], device, server, 0

    def send(self, symbols: np.ndarray) -> tuple[bytes, DecodedLatent]:
        self.frame_id += 1
        latent = torch.from_numpy(symbols.astype(np.float32) / self.gains)
        coded = self.coder.code(latent, POINT, self.frame_id, self.references.best(POINT.width))
        self.references.sent(coded.reference)
        decoded = self.server.codec.decode(coded.payload, self.store)
        assert (decoded.symbols == coded.reference.symbols).all()
        assert (decoded.changed == coded.reference.changed).all()
        assert not coded.is_unchanged
        self.store.put(decoded.as_reference(self.frame_id))
        self.references.answered(self.frame_id)
        return coded.payload, decoded

    def shift(self, payload: bytes) -> tuple[int, int]:
        return unpack(payload, self.device.codec.limits).shift


@pytest.fixture
def session(device: DeviceBundle, server: ServerBundle, monkeypatch) -> Session:
    monkeypatch.setattr("edge_client.encoding.latent_coder.WORTHWHILE", 100.0)  # changes however long they are
    return Session(device, server)


def small(scene: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return a view as small as the tiny bundle's latents, of so little that no frame is beyond its cap."""
    return np.clip(view(scene, row, column)[:, :4, :4], -1, 1)


def test_a_camera_that_turns_is_sent_as_a_shift_and_what_comes_into_view(session: Session, monkeypatch):
    # The tiny bundle's frames have 4 x 4 positions, too few to search.
    monkeypatch.setattr("edge_client.encoding.latent_coder.likely_shift", lambda *_: (0, -1))
    scene = world()
    session.send(small(scene, 8, 8))
    payload, decoded = session.send(small(scene, 8, 9))
    assert session.shift(payload) == (0, -1)
    assert decoded.builds_on == 1
    assert not decoded.changed[:, :3].any()  # all but the column that came into view


def test_a_shift_that_makes_more_changes_is_not_taken(session: Session, monkeypatch):
    monkeypatch.setattr("edge_client.encoding.latent_coder.likely_shift", lambda *_: (0, 2))
    scene = world()
    session.send(small(scene, 8, 8))
    brighter = small(scene, 8, 8)
    brighter[0] += 2  # everywhere, but in one channel
    payload, _ = session.send(brighter)
    assert session.shift(payload) == STILL


def test_after_a_search_in_vain_the_next_frames_are_not_searched(session: Session, monkeypatch):
    searched = []

    def search(*_: object) -> tuple[int, int]:
        searched.append(session.frame_id)
        return STILL

    monkeypatch.setattr("edge_client.encoding.latent_coder.likely_shift", search)
    for seed in range(2 * UNSEARCHED + 3):
        session.send(small(world(seed), 0, 0))
    assert searched == [2, 3 + UNSEARCHED, 4 + 2 * UNSEARCHED][: len(searched)]
    assert len(searched) >= 2
