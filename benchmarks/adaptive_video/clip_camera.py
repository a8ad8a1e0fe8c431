"""A clip in front of the product's own encoder: frames build on one another as they do in a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.video.eyes import Eyes, in_frame
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.references import SentReferences
from edge_client.frames import EncodedFrame, Image
from splitnet.codec.h264 import H264Decoder
from splitnet.codec.image_codec import decompress_image
from splitnet.codec.references import MAX_REFERENCES, Reference
from splitnet.detections import Detections
from splitnet.operating_point import Codec, Mode, OperatingPoint
from training.evaluation.systems import LocalSystem


@dataclass(frozen=True)
class ReceivedLatent:
    """What a server has of a frame, and how the device had encoded it."""

    latent: Reference
    encoded: EncodedFrame


class ClipCamera:
    """One run over a clip that begins anew when it is over. What the server would decode is kept by frame id."""

    def __init__(self, frames: Sequence[Image], encoder: EncoderRuntime, builds: bool) -> None:
        """Take a clip and a device half. builds: frames may build on those that are answered."""
        self._frames = frames
        self._encoder = encoder.for_another_camera()
        self._references = SentReferences()
        self._references.allow(MAX_REFERENCES if builds else 0)
        self._has_streams = builds
        self._stream = H264Decoder()
        self.received: dict[int, ReceivedLatent | Image] = {}

    def image(self, frame_id: int) -> Image:
        """Return what the camera saw as a frame, whose ids count from 1."""
        return self._frames[(frame_id - 1) % len(self._frames)]

    def encode(self, frame_id: int, point: OperatingPoint) -> tuple[int, bool]:
        """Encode a frame (`simulation.Camera`)."""
        encoded = self._encoder.encode(self.image(frame_id), point, frame_id, self._references)
        if encoded.reference is not None:
            self._references.sent(encoded.reference)
        self.received[frame_id] = self._decoded(frame_id, encoded)
        return len(encoded.payload), encoded.builds_on is not None

    def _decoded(self, frame_id: int, encoded: EncodedFrame) -> ReceivedLatent | Image:
        """Return what a server makes of a payload; every one arrives, in order."""
        if encoded.point.mode is Mode.SPLIT:
            assert encoded.reference is not None  # the bundle has tables for changes
            return ReceivedLatent(encoded.reference, encoded)
        height, width = self.image(frame_id).shape[:2]
        box = self._encoder.manifest.fit(width, height, 0)
        size = box.canvas_width, box.canvas_height
        if encoded.point.codec is Codec.H264:
            return self._stream.decode(encoded.payload, *size)
        return decompress_image(encoded.payload, encoded.point.codec, *size)

    def answered(self, frame_id: int) -> None:
        """Learn that the server holds a frame (`simulation.Camera`)."""
        self._references.answered(frame_id)


class Sight:
    """What is found in a clip's frames as they were received, each kind of content looked at once."""

    def __init__(self, eyes: Eyes, local: LocalSystem) -> None:
        self._eyes, self._local = eyes, local
        self._seen: dict[bytes, Detections] = {}

    def look(self, received: ReceivedLatent | Image) -> Detections:
        """Return what the server finds in what it has decoded."""
        if isinstance(received, ReceivedLatent):
            latent = received.latent
            key = bytes((latent.width, latent.quality)) + latent.symbols.tobytes()
            if key not in self._seen:
                self._seen[key] = self._eyes.symbols(latent.symbols, latent.width, latent.quality)
            return received.encoded.in_frame(self._seen[key])
        key = received.tobytes()
        if key not in self._seen:
            self._seen[key] = self._eyes.image(received)
        return self._seen[key]

    def alone(self, frame: Image) -> Detections:
        """Return what the device finds by itself."""
        key = b"local" + frame.tobytes()
        if key not in self._seen:
            box = self._local.fit(frame.shape[1], frame.shape[0])
            self._local.compress(frame, box)
            raw = self._local.raw(b"", box)
            self._seen[key] = in_frame(self._local.detector_name, raw, self._local.seen(box), box, None)
        return self._seen[key]
