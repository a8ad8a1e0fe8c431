"""A turning camera's pictures are moved by what is missing to whole positions, and boxes come back from there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_client.encoding import turning
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.references import SentReferences
from edge_client.encoding.turning import AT_REST, PATIENCE, PAUSE, Placement, TurningCamera
from edge_client.frames import EncodedFrame, Moved
from splitnet.bundle import DeviceBundle, load_device, load_server
from splitnet.codec.changes_header import is_changes
from splitnet.codec.references import MAX_REFERENCES, Reference, ReferenceStore
from splitnet.detections import Detections
from splitnet.letterbox import Letterbox
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

SIDE = 160
STEP = 5  # pixels that the camera turns by to the right, a frame: the scene moves to the left


def seen(photo: np.ndarray, column: int, side: int = SIDE) -> np.ndarray:
    """Return what a camera sees of a photograph from a column on."""
    return np.ascontiguousarray(photo[120 : 120 + side, 200 + column : 200 + column + side])


def reference(frame_id: int) -> Reference:
    return Reference(frame_id, 1, 1, np.zeros((12, 3, 4), np.int16), np.zeros((3, 4), np.uint8))


class Turned:
    """A camera whose frames are all answered before the next one is taken."""

    def __init__(self) -> None:
        self.camera, self.base, self.frame_id = TurningCamera(), reference(0), 0
        self.camera.coded(self.base, Placement(), 1.0)  # everything has changed

    def place(self, picture: np.ndarray, changed: float = 0.1) -> Placement:
        placement = self.camera.place(picture, self.base)
        self.frame_id += 1
        self.base = reference(self.frame_id)
        self.camera.coded(self.base, placement, changed)
        return placement


def test_the_picture_is_moved_by_what_is_missing_to_whole_positions(photo):
    turned = Turned()
    placements = [turned.place(seen(photo, STEP * number)) for number in range(6)]
    assert placements[0].offset == AT_REST
    assert placements[0].shift is None  # there is nothing to compare the first one with
    offsets = [placement.offset[0] for placement in placements[1:]]
    assert offsets == pytest.approx([5, -6, -1, 4, -7], abs=0.6)
    assert [placement.offset[1] for placement in placements] == pytest.approx([0] * 6, abs=0.6)
    assert [placement.shift for placement in placements[1:]] == [(0, 0), (0, -1), (0, 0), (0, 0), (0, -1)]


def test_a_camera_that_rests_is_not_looked_at_and_its_picture_stays(photo):
    camera, base = TurningCamera(), reference(1)
    camera.coded(base, Placement(), 0.1)
    placement = camera.place(seen(photo, STEP), base)
    assert (placement.offset, placement.shift, placement.thumbnail) == (AT_REST, None, None)


def test_the_picture_goes_back_to_its_place_once_the_camera_rests(photo):
    turned = Turned()
    for number in range(3):
        moved = turned.place(seen(photo, STEP * number))
    kept = [turned.place(seen(photo, 2 * STEP)) for _ in range(PATIENCE - 1)]
    assert {placement.offset for placement in kept} == {moved.offset}
    assert {placement.shift for placement in kept} == {None}
    back = turned.place(seen(photo, 2 * STEP), changed=1.0)
    assert (back.offset, back.shift) == (AT_REST, None)
    for _ in range(PAUSE - 2):  # in vain: nobody looks again for a while, however much has changed
        assert turned.place(seen(photo, 0), changed=1.0).thumbnail is None


def test_after_a_cut_to_another_scene_the_picture_lies_where_it_always_does(photo):
    turned = Turned()
    for number in range(3):
        turned.place(seen(photo, STEP * number))
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    cut = turned.place(noise)
    assert (cut.offset, cut.shift) == (AT_REST, None)


@pytest.mark.parametrize("size", [(1, 1), (1, 416), (416, 1), (20, 416)])
def test_a_line_does_not_turn(size):
    turned, draw = Turned(), np.random.default_rng(0)
    for _ in range(3):
        placement = turned.place(draw.integers(0, 256, (*size, 3), dtype=np.uint8))
        assert (placement.offset, placement.shift) == (AT_REST, None)


def test_another_canvas_begins_anew(photo):
    turned = Turned()
    for number in range(3):
        turned.place(seen(photo, STEP * number))
    assert turned.place(seen(photo, 3 * STEP, SIDE // 2)).shift is None


@pytest.mark.parametrize("offset", [(3.0, 0.0), (-2.0, 5.0)])
def test_a_moved_picture_is_the_scaled_one_elsewhere(photo, offset):
    box = Letterbox.fit(640, 480, 320)
    resting, moved = (box.apply(photo, one).astype(int) for one in (AT_REST, offset))
    right, down = map(int, offset)
    expected = np.roll(resting[:240], (down, right), (0, 1))
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(moved[:240][inner] - expected[inner]).max() <= 8  # another interpolation's rounding
    assert np.abs(moved[:240][inner] - expected[inner]).mean() < 0.5


def test_boxes_come_back_and_stay_within_the_frame():
    moved = Moved(Letterbox.fit(640, 480, 320), (4.0, -2.0))
    boxes = np.float32([[108, 96, 208, 196], [0, 0, 640, 480]])
    found = Detections(boxes, np.float32([0.9, 0.5]), np.int32([1, 2]))
    encoded = EncodedFrame(OperatingPoint(Codec.RANS, 1, 1), b"", 0, 0, 0, moved=moved)
    assert encoded.in_frame(found).boxes.tolist() == [[100, 100, 200, 200], [0, 4, 632, 480]]
    assert EncodedFrame(OperatingPoint(Codec.RANS, 1, 1), b"", 0, 0, 0).in_frame(found) is found


@pytest.fixture(scope="module")
def bundled() -> DeviceBundle:
    return load_device(DEFAULT_BUNDLE)


def test_a_turning_camera_takes_less_than_half_the_bytes(bundled, photo, monkeypatch):
    large = cv2.resize(photo, (832, 624))
    point = OperatingPoint(Codec.RANS, bundled.manifest.widths, 4)
    taken = []
    for least in (turning.TURNING, 2.0):  # the second: never
        monkeypatch.setattr(turning, "TURNING", least)
        encoder, references, store = EncoderRuntime(bundled), SentReferences(), ReferenceStore()
        references.allow(MAX_REFERENCES)
        codec, payloads = load_server(DEFAULT_BUNDLE).codec, []
        for frame_id in range(1, 9):
            encoded = encoder.encode(seen(large, 7 * frame_id, 416), point, frame_id, references)
            references.sent(encoded.reference)
            decoded = codec.decode(encoded.payload, store)
            assert (decoded.symbols == encoded.reference.symbols).all()
            store.put(decoded.as_reference(frame_id))
            references.answered(frame_id)
            payloads.append(encoded.payload)
        assert all(map(is_changes, payloads[4:]))
        taken.append(sum(map(len, payloads[4:])))
    assert taken[0] < taken[1] / 2


def test_a_frame_that_lies_elsewhere_than_its_reference_does_not_repeat_it(bundled, monkeypatch):
    encoder, references = EncoderRuntime(bundled), SentReferences()
    references.allow(MAX_REFERENCES)
    point, grey = OperatingPoint(Codec.RANS, 1, 1), np.full((200, 200, 3), 90, np.uint8)
    unchanged = []
    for frame_id, offset in enumerate((AT_REST, AT_REST, (3.0, 0.0), (3.0, 0.0)), start=1):
        placement = Placement(offset, (0, 0), np.zeros((8, 8), np.float32))
        monkeypatch.setattr(TurningCamera, "place", lambda *_, placement=placement: placement)
        encoded = encoder.encode(grey, point, frame_id, references)
        references.sent(encoded.reference)
        references.answered(frame_id)
        unchanged.append(encoded.is_unchanged)
    assert unchanged == [False, True, False, True]
