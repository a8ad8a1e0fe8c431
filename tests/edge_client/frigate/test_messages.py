"""Messages of Frigate's plug-in, byte by byte."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_client.frigate.messages import DetectRequest, ModelRequest, error_reply, parse, reply, rows_of
from splitnet.detections import Detections
from splitnet.errors import ProtocolError


def detections(count: int, box: tuple[float, ...] = (10, 20, 30, 60)) -> Detections:
    scores = np.linspace(0.3, 0.9, count).astype(np.float32)
    return Detections(np.array([box] * count, np.float32), scores, np.arange(count, dtype=np.int32))


def test_a_request_for_the_model_is_answered_yes():
    request = parse([b'{"model_request": true, "model_name": "yolo.onnx"}'])
    assert request == ModelRequest("yolo.onnx", brings_data=False)
    assert request.answer() == [b'{"model_available": true, "model_loaded": true}']


def test_a_model_that_is_sent_is_answered_as_kept():
    request = parse([b'{"model_data": true, "model_name": "yolo\\u001b.onnx"}', b"weights"])
    assert request == ModelRequest("yolo\\x1b.onnx", brings_data=True)
    assert request.answer() == [b'{"model_saved": true, "model_loaded": true}']


def test_a_header_and_a_tensor_are_a_request():
    assert parse([b'{"shape": [1]}', b"x"]) == DetectRequest({"shape": [1]}, b"x")


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "not JSON"),
        ([b"{}"], "two parts, a header and a tensor, not 1"),
        ([b"{}", b"", b""], "not 3"),
        ([b"\xff", b""], "not JSON"),
        ([b"[" * 4000, b""], "not JSON"),
        ([b"[1]", b""], "not a JSON object"),
        ([b" " * 4097, b""], "at most 4096 bytes"),
    ],
)
def test_what_follows_no_form_is_refused(parts, message):
    with pytest.raises(ProtocolError, match=message):
        parse(parts)


def test_rows_are_class_score_and_shares_of_the_image_best_first():
    rows = rows_of(detections(2), width=100, height=200)
    assert rows.shape == (20, 6) and rows.dtype == np.float32
    best, second = [1, 0.9, 0.1, 0.1, 0.3, 0.3], [0, 0.3, 0.1, 0.1, 0.3, 0.3]
    assert np.allclose(rows[:2], [best, second])
    assert not rows[2:].any()


def test_only_the_best_twenty_are_told_and_none_below_the_least_score():
    rows = rows_of(detections(25), 100, 100, min_score=0.5)
    assert rows[0, 1] == pytest.approx(0.9)
    assert rows[:16, 1].min() == pytest.approx(0.525)
    assert not rows[17:].any()


def test_boxes_end_at_the_image():
    assert rows_of(detections(1, (-5, -5, 500, 500)), 100, 100)[0].tolist()[2:] == [0, 0, 1, 1]


def test_a_reply_is_a_header_and_little_endian_floats():
    rows = np.arange(120, dtype=np.float32).reshape(20, 6)
    header, data = reply(rows, answered_by="server")
    assert json.loads(header) == {"shape": [20, 6], "dtype": "float32", "answered_by": "server"}
    assert data == rows.astype("<f4").tobytes() and len(data) == 480


def test_an_error_is_a_reply_without_objects_that_says_why():
    header, data = error_reply("too\nlarge")
    assert json.loads(header) == {"shape": [20, 6], "dtype": "float32", "error": "too large"}
    assert data == bytes(480)
