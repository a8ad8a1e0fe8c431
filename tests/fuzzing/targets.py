"""Targets of fuzzing: each parser of foreign bytes as a function of bytes.

A target may raise the project's errors and nothing else; whatever else escapes is a finding. Where a parser
would stop at a checksum, the target repairs it first, so that what lies behind is reached too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from google.protobuf.message import DecodeError, Message

from benchmarks.harness.traces import read_csv, read_mahimahi
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from cloud_server.compute.tuning import read_tuning
from edge_client.measuring.profile_cache import read_profile
from protos import split_inference_pb2 as pb
from splitnet.bundle import load_device, load_server
from splitnet.codec import change_coder_plain, rans, rans_reference
from splitnet.codec.bitstream import Limits
from splitnet.codec.changes_header import HEADER_BYTES as CHANGES_HEADER_BYTES
from splitnet.codec.changes_header import unpack as unpack_changes
from splitnet.codec.contexts import CONTEXTS, TableChoice
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.h264 import H264Decoder
from splitnet.codec.image_codec import decompress_image, decompress_whole_image
from splitnet.codec.zstd_symbols import decompress_zstd
from splitnet.errors import BitstreamError, SplitError
from splitnet.letterbox import Letterbox
from splitnet.manifest import DESCRIPTIVE, ENCODER_FILE, FILE_NAME, load_manifest
from splitnet.messages import MAX_DETECTIONS, FrameDetections
from splitnet.nn.yolox.boxes import anchor_grid, detections_from_raw
from splitnet.operating_point import Codec, Mode, OperatingPoint
from splitnet.wire.device_status import status_from_proto, status_to_proto
from splitnet.wire.frames import frame_from_proto
from splitnet.wire.sessions import (
    infer_request_from_proto,
    reply_from_proto,
    reply_to_proto,
    request_from_proto,
    request_to_proto,
)
from tests.fuzzing.access_targets import access_targets
from tests.fuzzing.update_targets import update_targets
from tests.support.golden_bitstreams import (
    CHANGES,
    DIGEST,
    SHAPE,
    golden_bitstream,
    golden_change_codec,
    golden_change_model,
    golden_codec_of,
    golden_layered_codec,
    golden_model,
    golden_reference,
    golden_references,
)
from tests.support.tiny_bundle import CHANNELS, INPUT_SIZE, QUALITIES, WIDTHS, write_tiny_bundle

Target = Callable[[bytes], None]
Proto = TypeVar("Proto", bound=Message)

CORPUS = Path(__file__).resolve().parent.parent / "data" / "fuzz"  # a folder for each target

MAX_SYMBOLS = 16  # of the plain Python decoder, which is slow
MAX_LAYERED_SYMBOL = 2000  # that a frame in layers can hold in any channel
PICTURE_SIDE = 32  # pixels
VALUES_PER_ANCHOR = 6  # a box, its objectness, one class
_DIGEST_IN_HEADER = slice(4, 12)
_CHECK_IN_CHANGES = slice(7, 11)


def all_targets(scratch: Path) -> Mapping[str, Target]:
    """Return every target by name; those that need files keep them in a folder of their own in `scratch`."""
    return {
        "bitstream": lambda data: bitstream(data, golden_codec_of("rans")),
        "bitstream-context": lambda data: bitstream(data, golden_codec_of("rans_context")),
        "changes": changes,
        "layers": layers,
        "h264": h264_stream,
        "rans": rans_payload,
        "zstd": zstd_payload,
        "jpeg": lambda data: picture(data, Codec.JPEG),
        "webp": lambda data: picture(data, Codec.WEBP),
        "request": request,
        "status": status,
        "infer-request": infer_request,
        "reply": reply,
        "frame": lambda data: frame(data, scratch),
        "latent": lambda data: latent(data, scratch),
        "predictions": predictions,
        "manifest": lambda data: manifest(data, scratch),
        "weights": lambda data: weights(data, scratch),
        "tuning": lambda data: read_file(data, scratch / "tuning.json", read_tuning),
        "profile": lambda data: read_file(data, scratch / "profile.json", read_profile),
        "trace-csv": lambda data: read_file(data, scratch / "trace.csv", read_csv),
        "trace-mahimahi": lambda data: read_file(data, scratch / "trace.up", read_mahimahi),
        **access_targets(),
        **update_targets(),
    }


def run(target: Target, data: bytes) -> None:
    """Give one input to a target. Whatever this raises is a finding."""
    try:
        target(data)
    except SplitError as error:
        assert len(str(error).splitlines()) == 1, "an error is one line"


def bitstream(data: bytes, codec: FeatureCodec) -> None:
    """Decode a whole bitstream of a golden bundle; what decodes is what an encoder would have sent."""
    header, symbols = codec.decompress(data)
    if header.codec is Codec.RANS:
        assert codec.compress(symbols, header.width, header.quality) == data


def changes(data: bytes) -> None:
    """Decode changes against the golden reference, with both coders, which must agree, as `rans_payload` does.

    The checksum of the reference is put right first. What decodes comes back when it is coded again, though perhaps
    shorter: a position may be flagged and not change.
    """
    golden, limits, codec = golden_bitstream(CHANGES), Limits(DIGEST, 2, 2, *SHAPE), golden_change_codec()
    data = data[: _CHECK_IN_CHANGES.start] + golden[_CHECK_IN_CHANGES] + data[_CHECK_IN_CHANGES.stop :]
    header, reference = unpack_changes(data, limits), golden_reference()
    if (header.width, header.reference_frame_id) != (reference.width, reference.frame_id):
        with pytest.raises(BitstreamError):
            codec.decompress(data, limits, golden_references())
        return
    quality, shift = header.quality, header.shift
    base, centre = codec.fitted(reference, quality, shift), golden_model().likeliest[header.width - 1, quality]
    rest, model = data[CHANGES_HEADER_BYTES:], golden_change_model()
    symbols = _decoded(lambda: change_coder_plain.decode_changes(rest, base, centre, quality, model))
    compiled = _decoded(lambda: codec.decompress(data, limits, golden_references()).symbols)
    assert symbols == compiled, f"{symbols} in Python, {compiled} compiled"
    if symbols is not None:
        again = codec.compress(np.array(symbols, np.int16), header.width, quality, reference, shift)
        assert codec.decompress(again, limits, golden_references()).symbols.tolist() == symbols


def layers(data: bytes) -> None:
    """Decode a frame in layers, whatever number of them has come; a whole one is the same when it is coded again."""
    codec = golden_layered_codec()
    latent = codec.decompress(data)
    assert 1 <= latent.used <= latent.layers and latent.symbols.size <= np.prod(SHAPE)
    if latent.used == latent.layers > 1 and np.abs(latent.symbols.astype(np.int32)).max() <= MAX_LAYERED_SYMBOL:
        again = codec.compress(latent.symbols, latent.width, latent.quality, latent.layers)
        assert (codec.decompress(b"".join(again)).symbols == latent.symbols).all()


def h264_stream(data: bytes) -> None:
    """Decode a picture, and the same again as the one after it."""
    decoder = H264Decoder()
    for payload in (data, data[:4] + b"\x01\x00" + data[6:]):
        with suppress(BitstreamError):
            height, width, channels = decoder.decode(payload, PICTURE_SIDE, PICTURE_SIDE).shape
            assert 1 <= height <= PICTURE_SIDE and 1 <= width <= PICTURE_SIDE and channels == 3


def rans_payload(data: bytes) -> None:
    """Decode a payload with both coders, which must agree; the first two bytes choose tables, contexts and size.

    The compiled one cannot be traced, the one in plain Python shows the fuzzer the way.
    """
    first, count = data[0] if data else 0, data[1] % MAX_SYMBOLS + 1 if data[1:] else 1
    model, in_context = golden_codec_of("rans").model, first >= 128
    # Without contexts, as many channels of one symbol; with them, one channel.
    shape, size = ((1, CONTEXTS), (1, count)) if in_context else ((count, 1), (1, 1))
    rows = ((np.arange(shape[0] * shape[1]) + first) % model.offset.size).astype(np.uint16).reshape(shape)
    choice = TableChoice(rows, np.zeros(shape[0], np.int16))
    symbols = _decoded(lambda: rans_reference.decode(data[2:], choice, size, model))
    compiled = _decoded(lambda: rans.decode(data[2:], choice, size, _golden_tables()))
    assert symbols == compiled, f"{symbols} in Python, {compiled} compiled"
    if symbols is not None:
        assert rans.encode(np.array(symbols, np.int16), choice, _golden_tables()) == data[2:]


def zstd_payload(data: bytes) -> None:
    """Decode a payload of the fall-back codec."""
    assert decompress_zstd(data, SHAPE).shape == SHAPE


def picture(data: bytes, codec: Codec) -> None:
    """Decode an image file, as a canvas and as a whole image."""
    with suppress(BitstreamError):
        whole = decompress_whole_image(data, codec, PICTURE_SIDE * PICTURE_SIDE, 2 * PICTURE_SIDE, 1).pixels
        assert 1 <= whole.shape[0] * whole.shape[1] <= PICTURE_SIDE * PICTURE_SIDE and whole.shape[2] == 3
    height, width, channels = decompress_image(data, codec, PICTURE_SIDE, PICTURE_SIDE).shape
    assert 1 <= height <= PICTURE_SIDE and 1 <= width <= PICTURE_SIDE and channels == 3


def request(data: bytes) -> None:
    """Read what a device sends; what is accepted survives being sent on."""
    message = _parsed(pb.DetectRequest, data)
    if message is not None:
        accepted = request_from_proto(message)
        assert request_from_proto(request_to_proto(accepted)) == accepted


def status(data: bytes) -> None:
    """Read what a device says of itself; what is accepted is fit to be shown, and stays what it is."""
    message = _parsed(pb.DeviceStatus, data)
    if message is not None:
        accepted = status_from_proto(message)
        texts = [accepted.board, accepted.software, accepted.point, *(line.text for line in accepted.log)]
        assert all(text.isprintable() for text in texts)
        assert status_from_proto(status_to_proto(accepted).status) == accepted


def infer_request(data: bytes) -> None:
    """Read what a client without a session sends."""
    message = _parsed(pb.InferRequest, data)
    if message is not None:
        infer_request_from_proto(message)


def reply(data: bytes) -> None:
    """Read what a server sends, as a device does."""
    message = _parsed(pb.DetectReply, data)
    if message is None:
        return
    accepted = reply_from_proto(message)
    if isinstance(accepted, FrameDetections):
        assert np.isfinite(accepted.detections.boxes).all() and np.isfinite(accepted.detections.scores).all()
        reply_to_proto(accepted)


def frame(data: bytes, scratch: Path) -> None:
    """Read a frame and decode its payload, as a server does before the frame is put into a batch."""
    message = _parsed(pb.Frame, data)
    if message is None:
        return
    payload, digest = bytearray(message.payload), bytes.fromhex(_tiny_model(scratch).digest)
    payload[_DIGEST_IN_HEADER] = digest[: len(payload[_DIGEST_IN_HEADER])]
    message.payload = bytes(payload) if message.payload[:2] == b"SL" else message.payload
    decoded = _tiny_model(scratch).decode(frame_from_proto(message))
    assert decoded.data.size <= INPUT_SIZE * INPUT_SIZE * 3


def latent(data: bytes, scratch: Path) -> None:
    """Detect in whatever latent a device may send: its symbols, after two bytes for width and quality."""
    shape = (CHANNELS, INPUT_SIZE // 16, INPUT_SIZE // 16)
    size = 2 * int(np.prod(shape))
    if len(data) < 2:
        return
    point = OperatingPoint(Codec.RANS, data[0] % WIDTHS + 1, data[1] % QUALITIES)
    symbols = np.frombuffer(data[2 : 2 + size].ljust(size, b"\0"), np.int16).reshape(shape)
    letterbox = Letterbox.fit(INPUT_SIZE, INPUT_SIZE, INPUT_SIZE)
    (found,) = _tiny_model(scratch).infer(Mode.SPLIT, [DecodedFrame(symbols, point, letterbox)])
    assert len(found) <= MAX_DETECTIONS
    assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()


def predictions(data: bytes) -> None:
    """Find boxes in whatever a network may predict: these bytes as half-precision numbers, of one class.

    It is what `latent` has behind its network, which takes nearly all of that one's time.
    """
    anchors = len(anchor_grid(INPUT_SIZE, torch.device("cpu"))[0])
    size = 2 * anchors * VALUES_PER_ANCHOR
    raw = np.frombuffer(data[:size].ljust(size, b"\0"), np.float16).reshape(1, anchors, VALUES_PER_ANCHOR)
    (found,) = detections_from_raw(torch.from_numpy(raw.astype(np.float32)), INPUT_SIZE)
    assert len(found) <= MAX_DETECTIONS
    boxes = Letterbox.fit(640, 480, INPUT_SIZE).boxes_to_frame(found.boxes)
    assert np.isfinite(boxes).all() and np.isfinite(found.scores).all()
    assert (found.labels == 0).all()


def manifest(data: bytes, scratch: Path) -> None:
    """Load a bundle with this manifest, whose digest is made to fit."""
    folder = _tiny_copy(scratch, "manifest")
    values = _json(data)
    if isinstance(values, dict):
        data = json.dumps({**values, "digest": _manifest_digest(values)}).encode()
    (folder / FILE_NAME).write_bytes(data)
    str(load_manifest(folder))
    load_device(folder)


def weights(data: bytes, scratch: Path) -> None:
    """Load a device's half from these bytes, which the manifest is made to name."""
    folder = _tiny_copy(scratch, "weights")
    values = json.loads(_tiny_manifest(scratch))
    values["files"][ENCODER_FILE] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / FILE_NAME).write_text(json.dumps({**values, "digest": _manifest_digest(values)}))
    (folder / ENCODER_FILE).write_bytes(data)
    load_device(folder)


def read_file(data: bytes, path: Path, read: Callable[[Path], object]) -> None:
    """Write the bytes to a file and read it."""
    path.write_bytes(data)
    read(path)


def _decoded(decode: Callable[[], Any]) -> list[list[list[int]]] | None:
    try:
        symbols: list[list[list[int]]] = decode().tolist()
    except BitstreamError:
        return None
    return symbols


def _parsed(kind: type[Proto], data: bytes) -> Proto | None:
    """Return a message, or None for bytes that gRPC would refuse before we see them."""
    try:
        return kind.FromString(data)
    except DecodeError:
        return None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _manifest_digest(values: Mapping[str, Any]) -> str:
    defining = {k: v for k, v in values.items() if k not in DESCRIPTIVE}
    return hashlib.sha256(json.dumps(defining, sort_keys=True).encode()).hexdigest()


@cache
def _golden_tables() -> rans.Tables:
    return rans.Tables.build(golden_codec_of("rans").model)


@cache
def _tiny(scratch: Path) -> Path:
    write_tiny_bundle(scratch / "tiny")
    return scratch / "tiny"


@cache
def _tiny_manifest(scratch: Path) -> bytes:
    return (_tiny(scratch) / FILE_NAME).read_bytes()


@cache
def _tiny_copy(scratch: Path, name: str) -> Path:
    return Path(shutil.copytree(_tiny(scratch), scratch / name))


@cache
def _tiny_model(scratch: Path) -> BundleModel:
    torch.set_num_threads(1)
    return BundleModel(load_server(_tiny(scratch)), torch.device("cpu"))
