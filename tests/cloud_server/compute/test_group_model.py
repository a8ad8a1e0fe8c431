"""A group's bundle in the engine: what is refused of a frame in parts, and that the rest is answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cloud_server.compute.group_model import GroupModel
from cloud_server.groups.group_frame import GroupFrame
from splitnet.errors import BitstreamError
from splitnet.groups.group_bundle import GroupServer, load_group_server
from splitnet.messages import Frame
from splitnet.operating_point import Codec, Mode, OperatingPoint
from tests.support.tiny_group import PARTS

POINT = OperatingPoint(Codec.RANS, 1, 0)
SIZE = (64, 48)  # of the camera's frame


@pytest.fixture(scope="module")
def half(tiny_group: Path) -> GroupServer:
    return load_group_server(tiny_group)


@pytest.fixture(scope="module")
def model(half: GroupServer) -> GroupModel:
    made = GroupModel(half, torch.device("cpu"))
    made.prepare()
    return made


def frame_of(half: GroupServer, shapes: dict[int, tuple[int, ...]], point: OperatingPoint = POINT) -> GroupFrame:
    """Return a frame whose parts have symbols of such shapes (h, w)."""
    parts = {}
    for number, shape in shapes.items():
        channels = half.manifest.of_part(number).shape(half.manifest.fit(*SIZE))[0]
        payload = half.codecs[number - 1].compress(np.zeros((channels, *shape), np.int16), 1, 0, Codec.RANS)
        parts[number] = Frame(7, 0, point, payload, *SIZE)
    return GroupFrame(7, 0, point, b"", *SIZE, parts=parts)


def right_shape(half: GroupServer) -> tuple[int, ...]:
    return half.manifest.of_part(1).shape(half.manifest.fit(*SIZE))[1:]


def test_a_part_of_another_shape_is_refused_and_the_others_are_answered(half, model):
    right = right_shape(half)
    shapes = dict.fromkeys(range(1, PARTS + 1), right) | {2: (right[0], right[1] - 1)}
    decoded = model.decode(frame_of(half, shapes))
    assert decoded.taken.used == (1, 3)
    assert "part 2 of frame 7: the payload has shape" in decoded.taken.refused[2]
    assert len(model.infer(Mode.SPLIT, [decoded])) == 1


def test_a_frame_without_a_part_that_fits_is_refused(half, model):
    with pytest.raises(BitstreamError, match="part 1 of frame 7: the payload has shape"):
        model.decode(frame_of(half, {1: (1, 1)}))


def test_a_part_that_says_another_quality_than_its_bitstream_is_refused(half, model):
    with pytest.raises(BitstreamError, match="send what you encoded"):
        model.decode(frame_of(half, {1: right_shape(half)}, OperatingPoint(Codec.RANS, 1, 1)))


def test_an_ordinary_frame_is_refused(model):
    with pytest.raises(BitstreamError, match="is for a group of devices"):
        model.decode(Frame(7, 0, POINT, b"", *SIZE))
