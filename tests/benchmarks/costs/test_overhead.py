import json
import threading

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.costs import overhead
from benchmarks.costs.overhead import LockstepSource, medians
from edge_client.frames import CapturedFrame, EncodedFrame, FrameResult
from splitnet.detections import Detections
from splitnet.errors import SourceError
from splitnet.messages import ServerTiming
from splitnet.operating_point import Codec, OperatingPoint

IMAGE = np.zeros((4, 4, 3), np.uint8)


def result(end_to_end_ms: float, network_ms: float = 10.0) -> FrameResult:
    point = OperatingPoint(Codec.RANS, 4, 2)
    encoded = EncodedFrame(point, bytes(100), letterbox_ms=1.0, network_ms=network_ms, entropy_ms=0.5)
    timing = ServerTiming(wait_ms=0.25, decode_ms=0.75, infer_ms=40.0)
    return FrameResult(CapturedFrame(1, 0.0, 0.0, IMAGE), encoded, Detections.empty(), timing, end_to_end_ms, False)


def test_overhead_is_all_but_encoding_decoding_and_detection():
    assert medians([result(54.0)]) == {
        "payload_bytes_p50": 100,
        "end_to_end_ms_p50": 54.0,
        "compute_ms_p50": 52.25,
        "overhead_ms_p50": 1.75,
        "encode_ms_p50": 11.5,
        "decode_ms_p50": 0.75,
        "infer_ms_p50": 40.0,
        "wait_ms_p50": 0.25,
    }


def test_overhead_is_taken_frame_by_frame():
    figures = medians([result(54.0), result(56.0), result(155.0, network_ms=110.0)])
    assert figures["end_to_end_ms_p50"] == 56.0
    assert figures["overhead_ms_p50"] == 2.75


def test_an_image_comes_only_when_the_last_one_is_answered():
    source = LockstepSource([IMAGE, IMAGE + 1], 3)
    images = source.images(threading.Event().wait)
    shown = [next(images)]
    for _ in range(2):
        source.answered()
        shown.append(next(images))
    source.answered()
    assert [int(image.image[0, 0, 0]) for image in shown] == [0, 1, 0]
    assert next(images, None) is None


def test_a_missing_answer_ends_the_measurement(monkeypatch):
    monkeypatch.setattr(overhead, "ANSWER_TIMEOUT_S", 0)
    images = LockstepSource([IMAGE], 2).images(threading.Event().wait)
    next(images)
    with pytest.raises(SourceError, match="frame 1 was not answered"):
        next(images)


def test_overhead_measures_a_real_server(tmp_path, tiny_bundle):
    out = tmp_path / "overhead.json"
    assert main(["overhead", "--bundle", str(tiny_bundle), "--frames", "3", "--out", str(out)]) == 0
    measured = json.loads(out.read_text())
    assert [row["point"] for row in measured["points"]] == ["w4 q1", "w1 q0", "jpeg 75"]
    first = measured["points"][0]
    for key in ("end_to_end_ms_p50", "compute_ms_p50", "overhead_ms_p50"):
        assert measured[key] == first[key]
    assert 0 < first["overhead_ms_p50"] < first["end_to_end_ms_p50"]
    assert measured.keys() >= {"commit", "machine", "bundle"}


def test_no_frames_are_refused(tiny_bundle, capsys):
    assert main(["overhead", "--bundle", str(tiny_bundle), "--frames", "0"]) == 2
    assert "--frames must be positive" in capsys.readouterr().err
