"""The device's H.264 stream: when its next picture may build on the last one."""

from __future__ import annotations

from edge_client.encoding.references import SentReferences
from edge_client.frames import Image
from splitnet.codec.h264 import H264Encoder


class VideoStream:
    """Canvases as pictures of a stream, for one session after the other. One thread at a time.

    A picture builds on the last one that was sent, answered or not. Whatever goes missing is noticed: by the server,
    which refuses what follows, or by the device, whose link is gone. Either clears the references, and the next
    picture is a keyframe.
    """

    def __init__(self) -> None:
        """Raise ConfigError without PyAV."""
        self._encoder = H264Encoder()
        self._times_cleared: int | None = None  # of the references that the stream has relied on
        self._last_id = 0

    def encode(
        self, canvas: Image, quality: int, references: SentReferences | None, frame_id: int = 0
    ) -> tuple[bytes, int | None]:
        """Return the payload of the next canvas, and the id of the frame that it builds on.

        It is a keyframe, which builds on none, if nothing before it counts or there are no references.
        """
        cleared = None if references is None else references.times_cleared
        anew = cleared is None or cleared != self._times_cleared
        self._times_cleared = cleared
        payload = self._encoder.encode(canvas, quality, anew)
        before, self._last_id = self._last_id, frame_id
        return payload, None if self._encoder.is_at_keyframe else before
