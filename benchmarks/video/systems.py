"""Ways of sending video to a detector: each codes the frames of one clip in order, at one setting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.video.eyes import Canvas, Eyes
from benchmarks.video.video_codec import VideoCodec
from edge_client.encoding.latent_coder import LatentCoder
from edge_client.encoding.references import SentReferences
from edge_client.encoding.turning import Placement, TurningCamera
from edge_client.frames import Moved
from splitnet.bundle import DeviceBundle
from splitnet.codec.change_codec import DecodedLatent
from splitnet.codec.feature_codec import FeatureCodec
from splitnet.codec.image_codec import compress_image, decompress_image
from splitnet.codec.references import MAX_REFERENCES, ReferenceStore
from splitnet.detections import Detections
from splitnet.operating_point import Codec, OperatingPoint


class VideoSystem(Protocol):
    """One way of sending a clip, with whatever state both its ends keep."""

    def fit(self, frame: Canvas) -> Canvas:
        """Return a frame on the canvas that is encoded."""
        ...

    def encode(self, canvas: Canvas) -> bytes:
        """Do all that the device does with the next canvas."""
        ...

    def receive(self, payload: bytes) -> Any:
        """Decode that payload, as the server does with every frame."""
        ...

    def look(self, received: Any) -> Detections:
        """Return what is found in what was decoded, in pixels of the frame."""
        ...


@dataclass(frozen=True)
class Setting:
    """A system at one setting. make: a fresh one for a clip."""

    system: str
    setting: str
    make: Callable[[Eyes], VideoSystem]


@dataclass(frozen=True)
class ReceivedLatent:
    """A latent as the server has it, and where its picture lay on the canvas."""

    latent: DecodedLatent
    moved: Moved


class SplitVideo:
    """A split operating point: every frame alone, or as changes against the one before."""

    def __init__(self, device: DeviceBundle, eyes: Eyes, point: OperatingPoint, changes: bool) -> None:
        self._device, self._eyes, self._point = device, eyes, point
        self._codec: FeatureCodec = eyes.server.codec
        self._coder = LatentCoder(device)
        self._sent, self._store = SentReferences(), ReferenceStore()
        self._sent.allow(MAX_REFERENCES if changes else 0)
        self._camera, self._placement = TurningCamera(), Placement()
        self._box = eyes.split_box(point.width)
        self._frame: Canvas | None = None  # that was fitted last
        self._frame_id = 0

    def fit(self, frame: Canvas) -> Canvas:
        """Fit a frame onto the canvas of the width."""
        self._frame = frame
        return self._box.apply(frame)

    def encode(self, canvas: Canvas) -> bytes:
        """Encode against the last frame, which has been answered."""
        self._frame_id += 1
        base = self._sent.best(self._point.width)
        placement = self._placement = self._camera.place(self._box.picture(canvas), base)
        if any(placement.offset):
            assert self._frame is not None
            canvas = self._box.apply(self._frame, placement.offset)
        latent = self._eyes.latent(self._device, canvas, self._point.width)
        coded = self._coder.code(latent, self._point, self._frame_id, base, shift=placement.shift)
        self._camera.coded(coded.reference, placement, coded.changed_share if base is not None else 0.0)
        if coded.reference is not None:
            self._sent.sent(coded.reference)
        return coded.payload

    def receive(self, payload: bytes) -> ReceivedLatent:
        """Decode and keep the latent, and let the device know."""
        latent = self._codec.decode(payload, self._store)
        self._store.put(latent.as_reference(self._frame_id))
        self._sent.answered(self._frame_id)
        return ReceivedLatent(latent, Moved(self._box, self._placement.offset))

    def look(self, received: ReceivedLatent) -> Detections:
        """Complete the detection, and move it back to where it is in the frame."""
        latent = received.latent
        return received.moved.back(self._eyes.symbols(latent.symbols, latent.width, latent.quality))


@dataclass
class ImageVideo:
    """Every frame as an image of its own."""

    eyes: Eyes
    codec: Codec
    quality: int

    def fit(self, frame: Canvas) -> Canvas:
        """Fit a frame as images are."""
        return self.eyes.box.apply(frame)

    def encode(self, canvas: Canvas) -> bytes:
        """Compress the image."""
        return compress_image(canvas, self.codec, self.quality)

    def receive(self, payload: bytes) -> Canvas:
        """Decode the image."""
        size = self.eyes.whole.input_size
        return decompress_image(payload, self.codec, size, size)

    def look(self, received: Canvas) -> Detections:
        """Look at the image."""
        return self.eyes.image(received)


@dataclass
class StreamVideo:
    """A video codec's stream of images."""

    eyes: Eyes
    codec: VideoCodec

    def fit(self, frame: Canvas) -> Canvas:
        """Fit a frame as images are."""
        return self.eyes.box.apply(frame)

    def encode(self, canvas: Canvas) -> bytes:
        """Encode the next image of the stream."""
        return self.codec.encode(canvas)

    def receive(self, payload: bytes) -> Canvas:
        """Decode the stream's next image."""
        return self.codec.decode(payload)

    def look(self, received: Canvas) -> Detections:
        """Look at the image."""
        return self.eyes.image(received)
