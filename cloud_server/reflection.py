"""Reflection, so that tools such as grpcurl need no .proto file: v1alpha and, beside it, v1.

The package `grpcio-reflection` has v1alpha only. Both versions have the same messages; only the name differs.
"""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from google.protobuf import descriptor_pool, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1_NAME = "grpc.reflection.v1.ServerReflection"


def enable_reflection(names: Sequence[str], server: grpc.aio.Server) -> None:
    """Let clients ask a server for the services of these names, and for those of reflection."""
    _describe_v1()
    servicer = reflection.aio.ReflectionServicer((*names, reflection.SERVICE_NAME, V1_NAME))
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    for name in (reflection.SERVICE_NAME, V1_NAME):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))


def _describe_v1() -> None:
    """Give the default pool the description of v1, which is that of v1alpha but for its package."""
    alpha = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    renamed = text_format.MessageToString(alpha).replace("v1alpha", "v1")
    descriptor_pool.Default().Add(text_format.Parse(renamed, FileDescriptorProto()))  # a second time changes nothing
