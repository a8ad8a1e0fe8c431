from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Codec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODEC_UNSPECIFIED: _ClassVar[Codec]
    CODEC_RANS: _ClassVar[Codec]
    CODEC_ZSTD: _ClassVar[Codec]
    CODEC_JPEG: _ClassVar[Codec]
    CODEC_WEBP: _ClassVar[Codec]
    CODEC_H264: _ClassVar[Codec]

class ErrorCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_CODE_UNSPECIFIED: _ClassVar[ErrorCode]
    ERROR_CODE_INVALID_ARGUMENT: _ClassVar[ErrorCode]
    ERROR_CODE_DEADLINE_EXCEEDED: _ClassVar[ErrorCode]
    ERROR_CODE_ALREADY_EXISTS: _ClassVar[ErrorCode]
    ERROR_CODE_PERMISSION_DENIED: _ClassVar[ErrorCode]
    ERROR_CODE_RESOURCE_EXHAUSTED: _ClassVar[ErrorCode]
    ERROR_CODE_FAILED_PRECONDITION: _ClassVar[ErrorCode]
    ERROR_CODE_INTERNAL: _ClassVar[ErrorCode]
    ERROR_CODE_UNAVAILABLE: _ClassVar[ErrorCode]
    ERROR_CODE_UNAUTHENTICATED: _ClassVar[ErrorCode]
CODEC_UNSPECIFIED: Codec
CODEC_RANS: Codec
CODEC_ZSTD: Codec
CODEC_JPEG: Codec
CODEC_WEBP: Codec
CODEC_H264: Codec
ERROR_CODE_UNSPECIFIED: ErrorCode
ERROR_CODE_INVALID_ARGUMENT: ErrorCode
ERROR_CODE_DEADLINE_EXCEEDED: ErrorCode
ERROR_CODE_ALREADY_EXISTS: ErrorCode
ERROR_CODE_PERMISSION_DENIED: ErrorCode
ERROR_CODE_RESOURCE_EXHAUSTED: ErrorCode
ERROR_CODE_FAILED_PRECONDITION: ErrorCode
ERROR_CODE_INTERNAL: ErrorCode
ERROR_CODE_UNAVAILABLE: ErrorCode
ERROR_CODE_UNAUTHENTICATED: ErrorCode

class DetectRequest(_message.Message):
    __slots__ = ("open", "frame", "status", "layer")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    open: OpenSession
    frame: Frame
    status: DeviceStatus
    layer: Layer
    def __init__(self, open: _Optional[_Union[OpenSession, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., status: _Optional[_Union[DeviceStatus, _Mapping]] = ..., layer: _Optional[_Union[Layer, _Mapping]] = ...) -> None: ...

class DetectReply(_message.Message):
    __slots__ = ("opened", "ack", "detections", "error", "draining")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    opened: SessionOpened
    ack: Ack
    detections: FrameDetections
    error: FrameError
    draining: Draining
    def __init__(self, opened: _Optional[_Union[SessionOpened, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., detections: _Optional[_Union[FrameDetections, _Mapping]] = ..., error: _Optional[_Union[FrameError, _Mapping]] = ..., draining: _Optional[_Union[Draining, _Mapping]] = ...) -> None: ...

class OpenSession(_message.Message):
    __slots__ = ("protocol_version", "device_id", "bundle_digest", "further_bundle_digests", "camera", "group")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FURTHER_BUNDLE_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    device_id: str
    bundle_digest: bytes
    further_bundle_digests: _containers.RepeatedScalarFieldContainer[bytes]
    camera: str
    group: GroupPlace
    def __init__(self, protocol_version: _Optional[int] = ..., device_id: _Optional[str] = ..., bundle_digest: _Optional[bytes] = ..., further_bundle_digests: _Optional[_Iterable[bytes]] = ..., camera: _Optional[str] = ..., group: _Optional[_Union[GroupPlace, _Mapping]] = ...) -> None: ...

class GroupPlace(_message.Message):
    __slots__ = ("name", "part", "parts", "spare")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    SPARE_FIELD_NUMBER: _ClassVar[int]
    name: str
    part: int
    parts: int
    spare: bool
    def __init__(self, name: _Optional[str] = ..., part: _Optional[int] = ..., parts: _Optional[int] = ..., spare: bool = ...) -> None: ...

class SessionOpened(_message.Message):
    __slots__ = ("protocol_version", "bundle_name", "bundle_digest", "server", "bundle", "limits", "session_id", "further", "group")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    FURTHER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    bundle_name: str
    bundle_digest: bytes
    server: str
    bundle: BundleDescription
    limits: SessionLimits
    session_id: str
    further: _containers.RepeatedCompositeFieldContainer[FurtherBundle]
    group: GroupPlace
    def __init__(self, protocol_version: _Optional[int] = ..., bundle_name: _Optional[str] = ..., bundle_digest: _Optional[bytes] = ..., server: _Optional[str] = ..., bundle: _Optional[_Union[BundleDescription, _Mapping]] = ..., limits: _Optional[_Union[SessionLimits, _Mapping]] = ..., session_id: _Optional[str] = ..., further: _Optional[_Iterable[_Union[FurtherBundle, _Mapping]]] = ..., group: _Optional[_Union[GroupPlace, _Mapping]] = ...) -> None: ...

class FurtherBundle(_message.Message):
    __slots__ = ("bundle_name", "bundle_digest", "bundle", "takes_features")
    BUNDLE_NAME_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    TAKES_FEATURES_FIELD_NUMBER: _ClassVar[int]
    bundle_name: str
    bundle_digest: bytes
    bundle: BundleDescription
    takes_features: bool
    def __init__(self, bundle_name: _Optional[str] = ..., bundle_digest: _Optional[bytes] = ..., bundle: _Optional[_Union[BundleDescription, _Mapping]] = ..., takes_features: bool = ...) -> None: ...

class BundleDescription(_message.Message):
    __slots__ = ("input_size", "stride", "class_names", "widths", "qualities", "score_threshold", "codecs", "parts")
    INPUT_SIZE_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    WIDTHS_FIELD_NUMBER: _ClassVar[int]
    QUALITIES_FIELD_NUMBER: _ClassVar[int]
    SCORE_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    CODECS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    input_size: int
    stride: int
    class_names: _containers.RepeatedScalarFieldContainer[str]
    widths: int
    qualities: int
    score_threshold: float
    codecs: _containers.RepeatedScalarFieldContainer[Codec]
    parts: int
    def __init__(self, input_size: _Optional[int] = ..., stride: _Optional[int] = ..., class_names: _Optional[_Iterable[str]] = ..., widths: _Optional[int] = ..., qualities: _Optional[int] = ..., score_threshold: _Optional[float] = ..., codecs: _Optional[_Iterable[_Union[Codec, str]]] = ..., parts: _Optional[int] = ...) -> None: ...

class SessionLimits(_message.Message):
    __slots__ = ("max_frames_in_flight", "max_payload_bytes", "max_image_pixels", "max_references", "max_status_bytes", "max_layers")
    MAX_FRAMES_IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    MAX_PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_IMAGE_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_REFERENCES_FIELD_NUMBER: _ClassVar[int]
    MAX_STATUS_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LAYERS_FIELD_NUMBER: _ClassVar[int]
    max_frames_in_flight: int
    max_payload_bytes: int
    max_image_pixels: int
    max_references: int
    max_status_bytes: int
    max_layers: int
    def __init__(self, max_frames_in_flight: _Optional[int] = ..., max_payload_bytes: _Optional[int] = ..., max_image_pixels: _Optional[int] = ..., max_references: _Optional[int] = ..., max_status_bytes: _Optional[int] = ..., max_layers: _Optional[int] = ...) -> None: ...

class DeviceStatus(_message.Message):
    __slots__ = ("software", "board", "run_s", "frames", "payload_bytes", "point", "deadline_ms", "latency_p50_ms", "latency_p95_ms", "capacity_bps", "capacity_is_bound", "rtt_ms", "cpu_share", "temperature_c", "decisions", "log", "left_out", "preview")
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    BOARD_FIELD_NUMBER: _ClassVar[int]
    RUN_S_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P50_MS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_P95_MS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_BPS_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_IS_BOUND_FIELD_NUMBER: _ClassVar[int]
    RTT_MS_FIELD_NUMBER: _ClassVar[int]
    CPU_SHARE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_C_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    software: str
    board: str
    run_s: float
    frames: FrameCounts
    payload_bytes: int
    point: str
    deadline_ms: float
    latency_p50_ms: float
    latency_p95_ms: float
    capacity_bps: float
    capacity_is_bound: bool
    rtt_ms: float
    cpu_share: float
    temperature_c: float
    decisions: _containers.RepeatedCompositeFieldContainer[DeviceDecision]
    log: _containers.RepeatedCompositeFieldContainer[DeviceLogLine]
    left_out: int
    preview: bytes
    def __init__(self, software: _Optional[str] = ..., board: _Optional[str] = ..., run_s: _Optional[float] = ..., frames: _Optional[_Union[FrameCounts, _Mapping]] = ..., payload_bytes: _Optional[int] = ..., point: _Optional[str] = ..., deadline_ms: _Optional[float] = ..., latency_p50_ms: _Optional[float] = ..., latency_p95_ms: _Optional[float] = ..., capacity_bps: _Optional[float] = ..., capacity_is_bound: bool = ..., rtt_ms: _Optional[float] = ..., cpu_share: _Optional[float] = ..., temperature_c: _Optional[float] = ..., decisions: _Optional[_Iterable[_Union[DeviceDecision, _Mapping]]] = ..., log: _Optional[_Iterable[_Union[DeviceLogLine, _Mapping]]] = ..., left_out: _Optional[int] = ..., preview: _Optional[bytes] = ...) -> None: ...

class FrameCounts(_message.Message):
    __slots__ = ("captured", "answered", "local", "late", "skipped", "lost")
    CAPTURED_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    captured: int
    answered: int
    local: int
    late: int
    skipped: int
    lost: int
    def __init__(self, captured: _Optional[int] = ..., answered: _Optional[int] = ..., local: _Optional[int] = ..., late: _Optional[int] = ..., skipped: _Optional[int] = ..., lost: _Optional[int] = ...) -> None: ...

class DeviceDecision(_message.Message):
    __slots__ = ("frame_id", "point", "reason", "predicted_ms")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_MS_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    point: str
    reason: str
    predicted_ms: float
    def __init__(self, frame_id: _Optional[int] = ..., point: _Optional[str] = ..., reason: _Optional[str] = ..., predicted_ms: _Optional[float] = ...) -> None: ...

class DeviceLogLine(_message.Message):
    __slots__ = ("unix_ms", "level", "text")
    UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    unix_ms: int
    level: str
    text: str
    def __init__(self, unix_ms: _Optional[int] = ..., level: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class OperatingPoint(_message.Message):
    __slots__ = ("codec", "width", "quality")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    codec: Codec
    width: int
    quality: int
    def __init__(self, codec: _Optional[_Union[Codec, str]] = ..., width: _Optional[int] = ..., quality: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("frame_id", "capture_time_us", "operating_point", "payload", "deadline_ms", "frame_width", "frame_height", "whole_image", "layers", "sent_time_us", "group_stream")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    OPERATING_POINT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    FRAME_WIDTH_FIELD_NUMBER: _ClassVar[int]
    FRAME_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WHOLE_IMAGE_FIELD_NUMBER: _ClassVar[int]
    LAYERS_FIELD_NUMBER: _ClassVar[int]
    SENT_TIME_US_FIELD_NUMBER: _ClassVar[int]
    GROUP_STREAM_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    capture_time_us: int
    operating_point: OperatingPoint
    payload: bytes
    deadline_ms: int
    frame_width: int
    frame_height: int
    whole_image: bool
    layers: int
    sent_time_us: int
    group_stream: int
    def __init__(self, frame_id: _Optional[int] = ..., capture_time_us: _Optional[int] = ..., operating_point: _Optional[_Union[OperatingPoint, _Mapping]] = ..., payload: _Optional[bytes] = ..., deadline_ms: _Optional[int] = ..., frame_width: _Optional[int] = ..., frame_height: _Optional[int] = ..., whole_image: bool = ..., layers: _Optional[int] = ..., sent_time_us: _Optional[int] = ..., group_stream: _Optional[int] = ...) -> None: ...

class Layer(_message.Message):
    __slots__ = ("frame_id", "layer", "payload")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    layer: int
    payload: bytes
    def __init__(self, frame_id: _Optional[int] = ..., layer: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("frame_id", "payload_bytes", "server_receive_time_us", "queue_depth", "layer")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    SERVER_RECEIVE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    payload_bytes: int
    server_receive_time_us: int
    queue_depth: int
    layer: int
    def __init__(self, frame_id: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., server_receive_time_us: _Optional[int] = ..., queue_depth: _Optional[int] = ..., layer: _Optional[int] = ...) -> None: ...

class ServerTiming(_message.Message):
    __slots__ = ("wait_ms", "decode_ms", "infer_ms")
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    DECODE_MS_FIELD_NUMBER: _ClassVar[int]
    INFER_MS_FIELD_NUMBER: _ClassVar[int]
    wait_ms: float
    decode_ms: float
    infer_ms: float
    def __init__(self, wait_ms: _Optional[float] = ..., decode_ms: _Optional[float] = ..., infer_ms: _Optional[float] = ...) -> None: ...

class FrameDetections(_message.Message):
    __slots__ = ("frame_id", "capture_time_us", "boxes", "scores", "labels", "timing", "layers_used", "further", "parts_used")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    BOXES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    LAYERS_USED_FIELD_NUMBER: _ClassVar[int]
    FURTHER_FIELD_NUMBER: _ClassVar[int]
    PARTS_USED_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    capture_time_us: int
    boxes: _containers.RepeatedScalarFieldContainer[float]
    scores: _containers.RepeatedScalarFieldContainer[float]
    labels: _containers.RepeatedScalarFieldContainer[int]
    timing: ServerTiming
    layers_used: int
    further: _containers.RepeatedCompositeFieldContainer[TaskDetections]
    parts_used: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, frame_id: _Optional[int] = ..., capture_time_us: _Optional[int] = ..., boxes: _Optional[_Iterable[float]] = ..., scores: _Optional[_Iterable[float]] = ..., labels: _Optional[_Iterable[int]] = ..., timing: _Optional[_Union[ServerTiming, _Mapping]] = ..., layers_used: _Optional[int] = ..., further: _Optional[_Iterable[_Union[TaskDetections, _Mapping]]] = ..., parts_used: _Optional[_Iterable[int]] = ...) -> None: ...

class TaskDetections(_message.Message):
    __slots__ = ("boxes", "scores", "labels")
    BOXES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    boxes: _containers.RepeatedScalarFieldContainer[float]
    scores: _containers.RepeatedScalarFieldContainer[float]
    labels: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, boxes: _Optional[_Iterable[float]] = ..., scores: _Optional[_Iterable[float]] = ..., labels: _Optional[_Iterable[int]] = ...) -> None: ...

class FrameError(_message.Message):
    __slots__ = ("frame_id", "capture_time_us", "code", "message")
    FRAME_ID_FIELD_NUMBER: _ClassVar[int]
    CAPTURE_TIME_US_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    frame_id: int
    capture_time_us: int
    code: ErrorCode
    message: str
    def __init__(self, frame_id: _Optional[int] = ..., capture_time_us: _Optional[int] = ..., code: _Optional[_Union[ErrorCode, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Draining(_message.Message):
    __slots__ = ("grace_ms",)
    GRACE_MS_FIELD_NUMBER: _ClassVar[int]
    grace_ms: int
    def __init__(self, grace_ms: _Optional[int] = ...) -> None: ...

class InferRequest(_message.Message):
    __slots__ = ("protocol_version", "bundle_digest", "frame")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    bundle_digest: bytes
    frame: Frame
    def __init__(self, protocol_version: _Optional[int] = ..., bundle_digest: _Optional[bytes] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ...) -> None: ...

class InferReply(_message.Message):
    __slots__ = ("detections",)
    DETECTIONS_FIELD_NUMBER: _ClassVar[int]
    detections: FrameDetections
    def __init__(self, detections: _Optional[_Union[FrameDetections, _Mapping]] = ...) -> None: ...
