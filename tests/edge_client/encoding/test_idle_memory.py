"""Giving memory back after loading."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_client.encoding.encoder import load_encoder
from edge_client.encoding.idle_memory import idle_code, release_idle_memory
from splitnet.operating_point import Codec, OperatingPoint

MAPS = """\
55d0c0000000-55d0c0001000 r-xp 00000000 08:01 11 /usr/bin/python3.11
7f0000000000-7f0000100000 r--p 00000000 08:01 12 /venv/llvmlite/binding/libllvmlite.so
7f0000100000-7f0004100000 r-xp 00100000 08:01 12 /venv/llvmlite/binding/libllvmlite.so
7f0004100000-7f0004200000 rw-p 04100000 08:01 12 /venv/llvmlite/binding/libllvmlite.so
7f0010000000-7f0010021000 rw-p 00000000 00:00 0
7f0020000000-7f0024000000 r-xp 00000000 08:01 13 /venv/a folder/torch/lib/libtorch_cpu.so
7ffe00000000-7ffe00021000 rw-p 00000000 00:00 0 [stack]
"""


def test_only_the_code_of_idle_libraries_is_given_back():
    assert idle_code(MAPS) == [(0x7F0000100000, 0x7F0004100000)]


def test_no_maps_no_ranges():
    assert idle_code("") == []


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_encoding_goes_on_as_before(tiny_bundle, photo):
    encoder = load_encoder(tiny_bundle, device="cpu", threads=1)
    point = OperatingPoint(Codec.RANS, 4, 1)
    before = encoder.encode(photo, point).payload
    release_idle_memory()
    assert encoder.encode(photo, point).payload == before
    encoder.warm_up()  # which may call the compiler again
