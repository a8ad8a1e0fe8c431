from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("protocol_version", "certificate", "proof")
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    protocol_version: int
    certificate: bytes
    proof: bytes
    def __init__(self, protocol_version: _Optional[int] = ..., certificate: _Optional[bytes] = ..., proof: _Optional[bytes] = ...) -> None: ...

class EnrolReply(_message.Message):
    __slots__ = ("device_id", "port", "server_authority", "server_name", "proof")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    SERVER_AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    device_id: str
    port: int
    server_authority: bytes
    server_name: str
    proof: bytes
    def __init__(self, device_id: _Optional[str] = ..., port: _Optional[int] = ..., server_authority: _Optional[bytes] = ..., server_name: _Optional[str] = ..., proof: _Optional[bytes] = ...) -> None: ...
