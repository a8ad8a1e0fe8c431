"""The bitstream that docs/protocol.md shows byte by byte, and the decoder of that page."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitnet.codec.bitstream import HEADER_BYTES
from splitnet.codec.contexts import NEIGHBOURHOODS
from splitnet.codec.entropy_model import EntropyModel
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.operating_point import Codec
from tests.support.golden_bitstreams import (
    QUALITY,
    SHAPE,
    WIDTH,
    golden_bitstream,
    golden_context_model,
    golden_symbols,
)

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "protocol.md").read_text(encoding="utf-8")
SYMBOLS = [[0, 1, 2], [0, 1, -9]]
LOUD_FROM = 5  # the first context of the page's second row
STATE_MIN = 1 << 23

Decoder = Callable[..., tuple[int, list[list[int]]]]


@pytest.fixture(scope="module")
def decode_channel() -> Decoder:
    namespace: dict[str, Any] = {}
    exec(PAGE.split("```python\n")[2].split("```")[0], namespace)
    found: Decoder = namespace["decode_channel"]
    return found


def documented_file() -> bytes:
    block = PAGE.split("## Features, byte by byte")[1].split("```text\n")[1].split("```")[0]
    return bytes.fromhex(block.replace("\n", " "))


def documented_rows() -> list[tuple[int, list[int]]]:
    rows = re.findall(r"^\| [01] \| (-\d+) \| ([\d, ]+) \|$", PAGE, re.MULTILINE)
    return [(int(first), [int(one) for one in cdf.split(",")]) for first, cdf in rows]


def documented_codec() -> FeatureCodec:
    rows = documented_rows()
    of_contexts = [0] + [int(context >= LOUD_FROM) for context in range(1, NEIGHBOURHOODS + 1)]
    model = EntropyModel(
        np.concatenate([cdf for _, cdf in rows]).astype(np.uint16),
        np.cumsum([0, *(len(cdf) for _, cdf in rows)]).astype(np.int32),
        np.array([first for first, _ in rows], np.int32),
        np.array(of_contexts, np.uint16).reshape(1, 1, 1, -1),
    )
    return FeatureCodec(model, bytes.fromhex("0123456789abcdef"), (1, 2, 3))


def test_our_encoder_writes_the_documented_bytes():
    symbols = np.array([SYMBOLS], np.int16)
    assert documented_codec().compress(symbols, 1, 0, Codec.RANS) == documented_file()


def test_the_documented_decoder_reads_the_documented_bytes(decode_channel):
    first, second = documented_rows()
    rows = {context: second if context >= LOUD_FROM else first for context in range(1, NEIGHBOURHOODS + 1)}
    payload = documented_file()[HEADER_BYTES:]
    rest = list(payload[4:])
    state, symbols = decode_channel(int.from_bytes(payload[:4], "big"), rest, rows, 0, (2, 3))
    assert (symbols, state, rest) == (SYMBOLS, STATE_MIN, [])


def test_the_documented_decoder_reads_several_channels_of_a_stored_frame(decode_channel):
    model = golden_context_model()
    choice = model.choice(WIDTH, QUALITY, SHAPE[0])
    payload = golden_bitstream("rans_context")[HEADER_BYTES:]
    state, rest, found = int.from_bytes(payload[:4], "big"), list(payload[4:]), []
    for tables, centre in zip(choice.rows, choice.centre.tolist(), strict=True):
        rows = {context: row_of(model, int(tables[context])) for context in range(1, NEIGHBOURHOODS + 1)}
        state, symbols = decode_channel(state, rest, rows, centre, SHAPE[1:])
        found.append(symbols)
    np.testing.assert_array_equal(found, golden_symbols())
    assert (state, rest) == (STATE_MIN, [])


def row_of(model: EntropyModel, table: int) -> tuple[int, list[int]]:
    start, end = model.cdf_start[table : table + 2]
    return int(model.offset[table]), model.quantized_cdf[start:end].tolist()
