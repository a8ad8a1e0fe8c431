from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Phase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PHASE_IDLE: _ClassVar[Phase]
    PHASE_DOWNLOADING: _ClassVar[Phase]
    PHASE_INSTALLED: _ClassVar[Phase]
    PHASE_TRIAL: _ClassVar[Phase]
    PHASE_COMMITTED: _ClassVar[Phase]
    PHASE_ROLLED_BACK: _ClassVar[Phase]
    PHASE_REFUSED: _ClassVar[Phase]
PHASE_IDLE: Phase
PHASE_DOWNLOADING: Phase
PHASE_INSTALLED: Phase
PHASE_TRIAL: Phase
PHASE_COMMITTED: Phase
PHASE_ROLLED_BACK: Phase
PHASE_REFUSED: Phase

class DeviceState(_message.Message):
    __slots__ = ("protocol_version", "device_id", "forms", "bundle_digest", "version", "phase", "target", "reason", "done_bytes", "total_bytes")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    FORMS_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DONE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BYTES_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    device_id: str
    forms: _containers.RepeatedScalarFieldContainer[str]
    bundle_digest: bytes
    version: int
    phase: Phase
    target: str
    reason: str
    done_bytes: int
    total_bytes: int
    def __init__(self, protocol_version: _Optional[int] = ..., device_id: _Optional[str] = ..., forms: _Optional[_Iterable[str]] = ..., bundle_digest: _Optional[bytes] = ..., version: _Optional[int] = ..., phase: _Optional[_Union[Phase, str]] = ..., target: _Optional[str] = ..., reason: _Optional[str] = ..., done_bytes: _Optional[int] = ..., total_bytes: _Optional[int] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("version", "is_served", "name", "is_halted")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IS_SERVED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IS_HALTED_FIELD_NUMBER: _ClassVar[int]
    version: int
    is_served: bool
    name: str
    is_halted: bool
    def __init__(self, version: _Optional[int] = ..., is_served: bool = ..., name: _Optional[str] = ..., is_halted: bool = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("metadata", "sha256", "offset", "max_bytes")
    METADATA_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    metadata: str
    sha256: bytes
    offset: int
    max_bytes: int
    def __init__(self, metadata: _Optional[str] = ..., sha256: _Optional[bytes] = ..., offset: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("data", "is_missing")
    DATA_FIELD_NUMBER: _ClassVar[int]
    IS_MISSING_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    is_missing: bool
    def __init__(self, data: _Optional[bytes] = ..., is_missing: bool = ...) -> None: ...
