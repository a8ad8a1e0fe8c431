"""What is around one H.264 picture on the wire, and the bounds of a peer's, before any decoder sees it. Pure.

Six bytes say which stream a picture belongs to and where in it: a picture means something only after all before it. The
rest is one access unit in Annex B's byte stream (ITU-T H.264). A hostile one may claim any size, or hold thousands of
pictures in a megabyte; so it must be one picture in a few slices, and the decoder is told how many pixels it may have.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from splitnet.errors import BitstreamError

MAGIC = b"SH"
VERSION = 1
_LAYOUT = struct.Struct("<2sBBH")  # little-endian: magic, version, stream, number in it
HEADER_BYTES = _LAYOUT.size
MAX_NUMBER = 0xFFFF  # then a new stream begins

MAX_SLICES = 8
MAX_UNITS = 24  # of an access unit; parameter sets and a few messages come before the slices
_SLICE, _IDR, _SEI, _SPS, _PPS, _DELIMITER, _FILLER = 1, 5, 6, 7, 8, 9, 12  # nal_unit_type, table 7-1
_SLICES = {_SLICE, _IDR}
_BESIDE = {_SEI, _SPS, _PPS, _DELIMITER, _FILLER}
_START = re.compile(rb"\x00\x00\x01")


@dataclass(frozen=True)
class StreamPlace:
    """Where a picture is in a stream."""

    stream: int  # 0..255, another one than the stream before
    number: int  # from 0, which is a keyframe


def pack(place: StreamPlace, access_unit: bytes) -> bytes:
    """Return the payload of a picture."""
    return _LAYOUT.pack(MAGIC, VERSION, place.stream, place.number) + access_unit


def unpack(payload: bytes) -> tuple[StreamPlace, bytes]:
    """Return a picture's place and its access unit. BitstreamError unless it is one, a keyframe where it must be."""
    if len(payload) < HEADER_BYTES or payload[: len(MAGIC)] != MAGIC:
        raise BitstreamError("the payload is not a picture of an H.264 stream as docs/protocol.md describes it")
    _, version, stream, number = _LAYOUT.unpack_from(payload)
    if version != VERSION:
        raise BitstreamError(
            f"H.264 payloads of version {version} are unknown (this is {VERSION}): update the older end"
        )
    access_unit = payload[HEADER_BYTES:]
    _check(access_unit, number == 0)
    return StreamPlace(stream, number), access_unit


def _check(access_unit: bytes, is_first: bool) -> None:
    kinds, first_slices = [], 0
    for found in _START.finditer(access_unit):
        begin = found.end()
        if begin + 1 >= len(access_unit):
            raise BitstreamError("the H.264 picture is truncated")
        kind = access_unit[begin] & 0x1F
        kinds.append(kind)
        # A slice that begins with the first macroblock (first_mb_in_slice is 0, one set bit) begins a picture.
        first_slices += kind in _SLICES and bool(access_unit[begin + 1] & 0x80)
        if len(kinds) > MAX_UNITS:
            break
    slices = sum(kind in _SLICES for kind in kinds)
    if len(kinds) > MAX_UNITS or slices > MAX_SLICES or first_slices != 1 or not set(kinds) <= _SLICES | _BESIDE:
        raise BitstreamError(
            f"an H.264 payload is one picture of at most {MAX_SLICES} slices and {MAX_UNITS} units: send each by itself"
        )
    if is_first and not {_IDR, _SPS, _PPS} <= set(kinds):
        raise BitstreamError("the first picture of an H.264 stream is no keyframe with its parameter sets: send one")
