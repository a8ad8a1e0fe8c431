"""Messages between device and server, as plain dataclasses, and their limits."""

from __future__ import annotations

from dataclasses import dataclass

import grpc

from splitnet.codec.bitstream import MAX_LAYERS
from splitnet.codec.references import MAX_REFERENCES
from splitnet.detections import Detections
from splitnet.device_status import MAX_STATUS_BYTES
from splitnet.image_header import MAX_IMAGE_PIXELS
from splitnet.operating_point import Codec, OperatingPoint

PROTOCOL_VERSION = 1
DIGEST_BYTES = 32  # SHA-256
MAX_PAYLOAD_BYTES = 1 << 20  # a larger payload is refused, and the session goes on
MAX_REQUEST_BYTES = MAX_PAYLOAD_BYTES + (1 << 16)  # a larger one is refused by gRPC itself, which ends the stream
MAX_MESSAGE_BYTES = 4 << 20  # the same for what a server sends
MAX_FRAME_SIDE = 1 << 14  # pixels
MAX_UNANSWERED = 8  # frames of one session; its stream is not read beyond that. A device needs one or two
MAX_DEVICE_ID_CHARS = 128
MAX_CAMERA_CHARS = 32
MAX_GROUP_CHARS = 64
MAX_PARTS = 64  # of a group's frames
MAX_DETECTIONS = 1000
MAX_FURTHER = 3  # bundles that answer a session besides its own
MAX_DEADLINE_MS = 3_600_000
KEEPALIVE_TIME_MS = 10_000  # both ends ping a silent link this often ...
KEEPALIVE_TIMEOUT_MS = 5_000  # ... and give it up when the answer takes longer


@dataclass(frozen=True)
class GroupPlace:
    """A device's place in a group, whose devices each make a part of every frame's features."""

    name: str  # of the group
    part: int  # from 1
    parts: int
    spare: bool = False  # another device makes this part, too

    def __str__(self) -> str:
        """Return it as `edge-client run` takes it: "yard 2/4"."""
        return f"{self.name} {self.part}/{self.parts}" + (" (spare)" if self.spare else "")


@dataclass(frozen=True)
class OpenSession:
    """The first request of a session."""

    device_id: str
    bundle_digest: str  # SHA-256, hexadecimal; empty: the server's default bundle, for whole images only
    protocol_version: int = PROTOCOL_VERSION
    further_digests: tuple[str, ...] = ()  # of bundles that every frame is for, too
    camera: str = ""  # which of the device's, where it has several
    group: GroupPlace | None = None  # None: the device stands alone


@dataclass(frozen=True)
class BundleDescription:
    """What a client must know of the bundle that answers it."""

    input_size: int  # pixels a side of the square that the detector sees
    stride: int  # pixels of a canvas per position of the latent
    class_names: tuple[str, ...]
    widths: int  # 1 to this
    qualities: int  # 0 to this less 1
    score_threshold: float
    codecs: tuple[Codec, ...]  # that a payload may have
    parts: int = 0  # how many devices of a group make its features together; 0: any device makes all of them


@dataclass(frozen=True)
class SessionLimits:
    """What a session may do."""

    max_frames_in_flight: int = MAX_UNANSWERED
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    max_image_pixels: int = MAX_IMAGE_PIXELS
    max_references: int = MAX_REFERENCES  # earlier frames that a frame may build on; 0: the server keeps none
    max_status_bytes: int = MAX_STATUS_BYTES  # of a `DeviceStatus`; 0: the server is too old for one
    max_layers: int = MAX_LAYERS  # that a frame may be sent in; 0: the server takes whole frames only


@dataclass(frozen=True)
class FurtherBundle:
    """A further bundle that answers a session."""

    bundle_name: str
    bundle_digest: str  # SHA-256, hexadecimal
    bundle: BundleDescription
    takes_features: bool  # of the first bundle; else it takes images only


@dataclass(frozen=True)
class SessionOpened:
    """The first reply of a session."""

    bundle_name: str
    bundle_digest: str  # SHA-256, hexadecimal
    server: str  # name and version of the software
    protocol_version: int = PROTOCOL_VERSION
    bundle: BundleDescription | None = None  # None: the server is too old to say, and takes no whole images
    limits: SessionLimits | None = None
    session_id: str = ""  # in the server's log; empty: the server is too old to say
    further: tuple[FurtherBundle, ...] = ()  # those asked for; empty: the server is too old for them
    group: GroupPlace | None = None  # the place that was asked for; None: the server is too old for groups


@dataclass(frozen=True)
class Frame:
    """One frame on its way to the server."""

    frame_id: int
    capture_time_us: int  # the device's clock, only echoed
    operating_point: OperatingPoint
    payload: bytes
    frame_width: int  # pixels of the original image; 0 for a whole image that says its own size
    frame_height: int
    deadline_ms: int = 0  # 0 = none; the server counts it from arrival
    whole_image: bool = False  # the payload is an image of any size, which the server fits; else it is fitted already
    layers: int = 0  # that the frame has; the payload is the first, the others follow as `Layer`. 0: it is whole
    sent_time_us: int = 0  # of a frame in layers: when it was handed to the network, by the device's clock
    group_stream: int = 0  # of a group's frame: which run of which camera it is of, 64 bits


@dataclass(frozen=True)
class Layer:
    """A further layer of a frame whose first one is on its way."""

    frame_id: int
    layer: int  # from 1
    payload: bytes


@dataclass(frozen=True)
class Ack:
    """The server has received a frame, or one of its layers."""

    frame_id: int
    payload_bytes: int
    server_receive_time_us: int  # the server's monotonic clock
    queue_depth: int  # frames waiting, this one included
    layer: int = 0  # of a frame in layers: which one


@dataclass(frozen=True)
class ServerTiming:
    """Where the server spent its time on a frame."""

    wait_ms: float
    decode_ms: float
    infer_ms: float

    @property
    def total_ms(self) -> float:
        """Their sum."""
        return self.wait_ms + self.decode_ms + self.infer_ms


@dataclass(frozen=True)
class FrameDetections:
    """The answer to a frame."""

    frame_id: int
    capture_time_us: int
    detections: Detections  # boxes in pixels of the original image
    timing: ServerTiming
    further: tuple[Detections, ...] = ()  # of the session's further bundles, in their order
    layers_used: int = 0  # of a frame in layers: how many had come; 0: the frame was whole
    parts_used: tuple[int, ...] = ()  # of a group's frame: those that had come, in order


@dataclass(frozen=True)
class FrameError:
    """The other answer to a frame; the session goes on."""

    frame_id: int
    capture_time_us: int
    status: grpc.StatusCode
    message: str


@dataclass(frozen=True)
class Draining:
    """The server is shutting down and takes no new frames."""

    grace_ms: int


@dataclass(frozen=True)
class InferRequest:
    """One frame without a session."""

    bundle_digest: str  # SHA-256, hexadecimal; empty: the server's default bundle, for whole images only
    frame: Frame
    protocol_version: int = PROTOCOL_VERSION


Request = OpenSession | Frame | Layer
Reply = SessionOpened | Ack | FrameDetections | FrameError | Draining
