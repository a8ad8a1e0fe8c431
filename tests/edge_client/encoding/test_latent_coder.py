"""Frames coded as changes: both ends agree whatever is dropped, refused, reordered or restarted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_client.encoding.latent_coder import HYSTERESIS, LatentCoder
from edge_client.encoding.references import SentReferences
from splitnet.bundle import DeviceBundle, ServerBundle
from splitnet.codec.references import MAX_REFERENCES, Reference, ReferenceStore
from splitnet.errors import MissingReferenceError
from splitnet.operating_point import Codec, OperatingPoint

POINT = OperatingPoint(Codec.RANS, 1, 1)


def latent(seed: int, channels: int = 12) -> torch.Tensor:
    """Return a scene (C, 3, 4) of the tiny bundle's latents."""
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 60, (channels, 3, 4)).astype(np.float32))


def moved(scene: torch.Tensor, seed: int) -> torch.Tensor:
    """Return a scene in which one position has changed."""
    changed = scene.clone()
    changed[:, 1, 2] = latent(seed)[:, 0, 0]
    return changed


def reference(frame_id: int, width: int = 1) -> Reference:
    return Reference(frame_id, width, 1, np.zeros((12, 3, 4), np.int16), np.zeros((3, 4), np.uint8))


def in_session(kept: int = MAX_REFERENCES) -> SentReferences:
    references = SentReferences()
    references.allow(kept)
    return references


def test_only_the_newest_answered_frame_of_the_width_is_built_on():
    references = in_session()
    for frame_id in (1, 2, 3):
        references.sent(reference(frame_id))
    assert references.best(1) is None
    references.answered(2)
    references.answered(1)  # answers may come out of order
    assert references.best(1).frame_id == 2
    assert references.best(2) is None
    references.answered(3)
    assert references.best(1).frame_id == 3


@pytest.mark.parametrize("kept", [0, MAX_REFERENCES - 1])
def test_a_server_that_keeps_too_few_is_sent_whole_frames(kept):
    references = in_session(kept)
    references.sent(reference(1))
    references.answered(1)
    assert references.best(1) is None


def test_a_refusal_and_a_new_session_forget_all():
    for lose in (SentReferences.forget, lambda references: references.allow(MAX_REFERENCES)):
        references = in_session()
        references.sent(reference(1))
        references.answered(1)
        lose(references)
        references.answered(1)
        assert references.best(1) is None


def test_a_frame_whose_id_reads_as_none_is_not_built_on():
    references = in_session()
    references.sent(reference(1 << 16))
    references.answered(1 << 16)
    assert references.best(1) is None


def test_a_still_scene_is_sent_as_changes_and_a_new_one_whole(device: DeviceBundle):
    coder, references = LatentCoder(device), in_session()
    first = coder.code(latent(0), POINT, 1, references.best(POINT.width))
    assert first.builds_on is None
    references.sent(first.reference)
    references.answered(1)
    still = coder.code(latent(0) + 0.1, POINT, 2, references.best(POINT.width))
    assert still.builds_on == 1
    assert len(still.payload) < len(first.payload) / 1.5
    assert (still.reference.symbols == first.reference.symbols).all()  # noise changes nothing
    other = coder.code(latent(7), POINT, 3, references.best(POINT.width))
    assert other.builds_on is None
    assert len(other.payload) <= device.codec.byte_cap(1, 1)


def test_errors_stay_within_a_step_however_long_the_scene_drifts(device: DeviceBundle):
    coder, references = LatentCoder(device), in_session()
    gain = device.encoder.gains[0, 1]
    for frame_id in range(1, 60):
        scene = latent(0) + 2.0 * frame_id
        coded = coder.code(scene, POINT, frame_id, references.best(POINT.width))
        references.sent(coded.reference)
        references.answered(frame_id)
        error = np.abs(scene.numpy() * gain - coded.reference.symbols)
        assert error.max() <= 0.5 + HYSTERESIS + 1e-4


def test_other_coders_bundles_and_canvases_are_coded_whole(device: DeviceBundle):
    references = in_session()
    references.sent(reference(1))
    references.answered(1)
    coder = LatentCoder(device)
    assert coder.code(latent(0), replace(POINT, codec=Codec.ZSTD), 2, references).builds_on is None
    assert coder.code(latent(0)[:, :2], POINT, 2, references.best(POINT.width)).builds_on is None
    assert coder.code(latent(0), POINT, 2).builds_on is None


Event = tuple[str, int]
SCENES = {
    "new": latent,
    "moved": lambda number: moved(latent(0), number),
    "panned": lambda number: latent(0).roll((number % 3 - 1, number % 4 - 2), (1, 2)),
    "upright": lambda number: latent(number % 2).transpose(1, 2).contiguous(),
}
EVENTS = st.lists(
    st.tuples(st.sampled_from([*SCENES, "still", "lost", "refused", "restart", "link"]), st.integers(0, 11)),
    min_size=5,
    max_size=25,
)


@settings(max_examples=150)
@given(EVENTS)
def test_both_ends_hold_the_same_whatever_happens(device: DeviceBundle, server: ServerBundle, events: list[Event]):
    both_ends_hold_the_same(device, server, events)


@pytest.mark.long
@settings(max_examples=1000)
@given(EVENTS)
def test_both_ends_hold_the_same_in_a_thousand_sessions(
    device: DeviceBundle, server: ServerBundle, events: list[Event]
):
    both_ends_hold_the_same(device, server, events)


def both_ends_hold_the_same(device: DeviceBundle, server: ServerBundle, events: list[Event]) -> None:
    """Answers are late by one frame; frames get lost or refused, sessions end, servers restart, points change."""
    coder, references, store = LatentCoder(device), in_session(), ReferenceStore()
    waiting: list[int] = []
    for frame_id, (event, number) in enumerate(events, start=65_530):
        scene = SCENES[event](number) if event in SCENES else latent(0)
        point = OperatingPoint(Codec.RANS, 1 + number % 2, number % 3)
        if event == "link":
            references.allow(MAX_REFERENCES)
            store = ReferenceStore()
            waiting.clear()
        if event == "restart":
            store.clear()
        coded = coder.code(scene, point, frame_id, references.best(point.width))
        references.sent(coded.reference)
        if event == "lost":
            continue
        try:
            decoded = server.codec.decode(coded.payload, store)
        except MissingReferenceError:
            assert any(kind == "restart" for kind, _ in events)
            references.forget()
            waiting.clear()
            continue
        assert (decoded.symbols == coded.reference.symbols).all()
        assert (decoded.changed == coded.reference.changed).all()
        assert decoded.builds_on == coded.builds_on
        store.put(decoded.as_reference(frame_id))
        if event == "refused":
            references.forget()
            continue
        waiting.append(frame_id)
        if len(waiting) > 1:
            references.answered(waiting.pop(number % 2))
