"""Valid inputs of every target, from which fuzzing starts: `python -m tests.fuzzing.seeds` writes them anew."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import grpc
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_server.compute.tuning import Tuning, write_tuning
from edge_client.adaptation.profile import DeviceProfile
from splitnet.bundle import load_device
from splitnet.codec import rans
from splitnet.codec.contexts import CONTEXTS, TableChoice
from splitnet.codec.h264 import H264Encoder
from splitnet.codec.image_codec import compress_image
from splitnet.codec.zstd_symbols import compress_zstd
from splitnet.detections import Detections
from splitnet.device_keys import new_root
from splitnet.device_status import DeviceDecision, DeviceLogLine, DeviceStatus, FrameCounts
from splitnet.enrolment import EnrolReply, EnrolRequest
from splitnet.enrolment_link import enrolment_link
from splitnet.manifest import ENCODER_FILE, FILE_NAME, Accuracy
from splitnet.measured_point import MeasuredPoint
from splitnet.messages import (
    Ack,
    BundleDescription,
    Draining,
    Frame,
    FrameDetections,
    FrameError,
    InferRequest,
    OpenSession,
    ServerTiming,
    SessionLimits,
    SessionOpened,
)
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.updates.artefact import BUNDLE, Artefact, ArtefactFile
from splitnet.updates.update_file import PATCH, Update, UpdatedFile, patch_of, write_update
from splitnet.wire.device_status import status_to_proto
from splitnet.wire.enrolment import enrol_reply_to_proto, enrol_request_to_proto
from splitnet.wire.frames import frame_to_proto
from splitnet.wire.sessions import infer_request_to_proto, reply_to_proto, request_to_proto
from tests.fuzzing.targets import CORPUS, PICTURE_SIDE
from tests.fuzzing.update_targets import FILES_FROM, OLD_FILE
from tests.support.golden_bitstreams import (
    CHANGES,
    WIDTH,
    golden_bitstream,
    golden_codec,
    golden_layered_codec,
    golden_layered_symbols,
    golden_symbols,
)
from tests.support.golden_update import GOLDEN
from tests.support.tiny_bundle import CHANNELS, write_tiny_bundle

DIGEST = "ab" * 32
DESCRIPTION = BundleDescription(416, 16, ("person", "car"), 4, 11, 0.25, (Codec.RANS, Codec.JPEG))
Seed = tuple[str, str, bytes]  # target, name, content


def seeds(scratch: Path) -> Iterator[Seed]:
    """Yield every seed; files are made in `scratch`."""
    yield from _payloads()
    yield from _pictures()
    yield from _pictures_of_a_stream()
    yield from _messages()
    yield from _bundle(scratch)
    yield from _files(scratch)
    yield from _access()
    yield from _updates()


def _payloads() -> Iterator[Seed]:
    for name in ("rans", "zstd"):
        yield "bitstream", name, golden_bitstream(name)
    yield "bitstream-context", "rans", golden_bitstream("rans_context")
    yield "changes", "golden", golden_bitstream(CHANGES)
    whole = golden_layered_codec().compress(golden_layered_symbols(), WIDTH, 2)
    for used in range(1, len(whole) + 1):
        yield "layers", f"first-{used}", b"".join(whole[:used])
    yield "zstd", "golden", compress_zstd(golden_symbols())
    tables = rans.Tables.build(golden_codec().model)
    symbols = np.array([0, 9, -3, 8, 0, 1, 30_000, -1, 7, 0, -200, 0], np.int16)
    for first in range(5):
        choice = TableChoice.alone(((np.arange(12) + first) % 5).astype(np.uint16))
        yield "rans", f"table-{first}", bytes([first, 11]) + rans.encode(symbols.reshape(12, 1, 1), choice, tables)
    rows = ((np.arange(CONTEXTS) + 128) % 5).astype(np.uint16)[None]
    payload = rans.encode(symbols.reshape(1, 1, 12), TableChoice(rows, np.zeros(1, np.int16)), tables)
    yield "rans", "context", bytes([128, 11]) + payload


def _pictures() -> Iterator[Seed]:
    ramp = np.arange(PICTURE_SIDE * PICTURE_SIDE * 3, dtype=np.uint32).reshape(PICTURE_SIDE, PICTURE_SIDE, 3)
    canvas = (ramp * 7 % 256).astype(np.uint8)
    for codec in (Codec.JPEG, Codec.WEBP):
        yield codec.value, "ramp", compress_image(canvas, codec, 20)
        yield codec.value, "grey", compress_image(np.full((16, 16, 3), 114, np.uint8), codec, 60)
    progressive = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_QUALITY, 10])[1]
    yield "jpeg", "progressive", progressive.tobytes()
    yield "webp", "lossless", cv2.imencode(".webp", canvas[:4, :4], [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()


def _pictures_of_a_stream() -> Iterator[Seed]:
    encoder = H264Encoder()
    for number in range(2):
        canvas = np.full((PICTURE_SIDE, PICTURE_SIDE, 3), 60, np.uint8)
        canvas[8:16, 8 * number : 8 * number + 8] = 200
        yield "h264", ("key", "next")[number], encoder.encode(canvas, 20)


def _messages() -> Iterator[Seed]:
    frame = Frame(7, 123_456, OperatingPoint(Codec.RANS, 2, 1), b"payload", 640, 480, 150)
    image = replace(frame, operating_point=OperatingPoint(Codec.JPEG, 0, 30))
    for name, request in (("open", OpenSession("device", DIGEST)), ("frame", frame), ("image", image)):
        yield "request", name, request_to_proto(request).SerializeToString()
    said = DeviceStatus(
        "slimsplit 1",
        "Raspberry Pi 5",
        12.5,
        FrameCounts(10, 6, 1, 1, 1, 1),
        point="w4 q5",
        decisions=(DeviceDecision(7, "w4 q5", "best in time", 90.5),),
        log=(DeviceLogLine(1_700_000_000_000, "warning", "rtsp://me:secret@camera/ is gone"),),
        preview=b"\xff\xd8\xff",
    )
    yield "status", "pi", status_to_proto(said).status.SerializeToString()
    yield "infer-request", "frame", infer_request_to_proto(InferRequest(DIGEST, frame)).SerializeToString()
    boxes = np.array([[1, 2, 30, 40], [0, 0, 640, 480]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.3], np.float32), np.array([0, 79], np.int32))
    replies = {
        "opened": SessionOpened("coco-nano", DIGEST, "slimsplit 0.1.0"),
        "described": SessionOpened("coco-nano", DIGEST, "slimsplit 0.1.0", bundle=DESCRIPTION, limits=SessionLimits()),
        "ack": Ack(7, 2000, 5, 1),
        "detections": FrameDetections(7, 123_456, found, ServerTiming(1.0, 2.0, 3.0)),
        "error": FrameError(7, 123_456, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"),
        "draining": Draining(5000),
    }
    for name, one in replies.items():
        yield "reply", name, reply_to_proto(one).SerializeToString()


def _bundle(scratch: Path) -> Iterator[Seed]:
    made = write_tiny_bundle(scratch / "tiny")
    point = MeasuredPoint(Mode.SPLIT, Codec.RANS, 4, 2, 24.0, 40.0, 100.0, 120.0, 2.0, 1.0)
    small = replace(made, class_names=("person", "bicycle"), origin="nowhere")
    small.with_measurements(Accuracy(25.0, 41.0), (point,)).write(scratch)
    yield "manifest", "measured", (scratch / FILE_NAME).read_bytes()
    yield "weights", "tiny", (scratch / "tiny" / ENCODER_FILE).read_bytes()
    codec = load_device(scratch / "tiny").codec
    symbols = np.arange(CHANNELS * 3 * 4).reshape(CHANNELS, 3, 4) % 5
    for kind in (Codec.RANS, Codec.ZSTD):
        payload = codec.compress((symbols - 2).astype(np.int16), 2, 1, kind)
        frame = Frame(1, 1, OperatingPoint(kind, 2, 1), payload, 640, 480, 0)
        yield "frame", kind.value, frame_to_proto(frame).SerializeToString()
    picture = compress_image(np.full((48, 64, 3), 90, np.uint8), Codec.JPEG, 30)
    frame = Frame(1, 1, OperatingPoint(Codec.JPEG, 0, 30), picture, 640, 480, 0)
    yield "frame", "jpeg", frame_to_proto(frame).SerializeToString()
    whole = replace(frame, frame_width=0, frame_height=0, whole_image=True)
    yield "frame", "whole", frame_to_proto(whole).SerializeToString()
    extremes = np.resize(np.array([-32_768, 32_767, 0, 0, 0, 1, -1], np.int16), CHANNELS * 16)
    yield "latent", "extremes", b"\3\2" + extremes.tobytes()
    yield "latent", "zero", b"\0\0"
    rows = {
        "two": [0.5, 0.5, 1, 1, 4, 4, 0.6, 0.4, 1, 1, 3, 3],
        "wild": [np.nan, 0, 1, 1, 4, 4, -np.inf, 1, 99, 9, 4, 4],
    }
    for name, row in rows.items():
        yield "predictions", name, np.array(row, "<f2").tobytes()


def _files(scratch: Path) -> Iterator[Seed]:
    write_tuning(scratch / "tuning.json", Tuning(threads=2, channels_last=True), {})
    yield "tuning", "two-threads", (scratch / "tuning.json").read_bytes()
    profile = DeviceProfile("cpu", DIGEST, {"w4 q2": 12.5, "jpeg 30": 3.0}, 80.0, 90.0)
    yield "profile", "kept", json.dumps(profile.to_json()).encode()
    yield "profile", "printed", json.dumps({"profile": {**asdict(profile), "format_version": 1}}).encode()
    yield "trace-csv", "steps", b"0,1.5\n2,0\n3.5,20\n5,0\n"
    yield "trace-mahimahi", "packets", b"0\n1\n1\n2\n17\n"


def _access() -> Iterator[Seed]:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    root, proof = new_root(key), bytes(range(32))
    yield "device-root", "own", root
    yield "client-certificate", "root", root  # as good as any: it is signed by an identity
    yield "enrol-request", "root", enrol_request_to_proto(EnrolRequest(root, proof)).SerializeToString()
    reply = EnrolReply("camera-1", 50_051, b"-----BEGIN CERTIFICATE-----", "slimsplit-edge", proof)
    yield "enrol-reply", "told", enrol_reply_to_proto(reply).SerializeToString()
    yield "enrol-link", "invited", enrolment_link("edge-node:50052", "ABCD-1234").encode()
    yield "common-name", "camera", b"camera-1"


def _updates() -> Iterator[Seed]:
    new = OLD_FILE[:700] + b"new" + OLD_FILE[700:]
    yield "patch", "inserted", patch_of(OLD_FILE, new)
    yield "weight-update", "golden", GOLDEN.read_bytes()
    part = patch_of(OLD_FILE, new)
    file = UpdatedFile("encoder.safetensors", PATCH, DIGEST, len(new), len(part))
    yield "update-file", "patched", write_update(Update("tiny", DIGEST, DIGEST, (file,), (part,)))[FILES_FROM:]
    described = Artefact(BUNDLE, "tiny", 2, DIGEST, (ArtefactFile("a.bin", DIGEST, 9, DIGEST, 9),))
    yield "artefact", "bundle", json.dumps(described.to_json()).encode()


def write(folder: Path) -> int:
    """Write every seed to FOLDER/TARGET/NAME; returns their bytes in all."""
    total = 0
    with tempfile.TemporaryDirectory() as scratch:
        for target, name, content in seeds(Path(scratch)):
            (folder / target).mkdir(parents=True, exist_ok=True)
            (folder / target / name).write_bytes(content)
            total += len(content)
    return total


if __name__ == "__main__":
    print(f"{write(CORPUS)} bytes of seeds")
    sys.exit()
