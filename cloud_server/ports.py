"""Ports of the daemon: gRPC's options, and addresses that are tried before anything long is done."""

from __future__ import annotations

import socket

import grpc

from splitnet.errors import ListenError
from splitnet.messages import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES, MAX_REQUEST_BYTES

MAX_CONNECTIONS = 2000
MAX_STREAMS = 100  # of a connection, as HTTP/2 advises at least; further ones wait at the client

SERVER_OPTIONS = (
    ("grpc.max_concurrent_streams", MAX_STREAMS),
    # What is not read yet of a stream stays at 64 KiB. With probing, gRPC lets each connection have what its link
    # holds, which on a fast one is megabytes. A message that is being read gets its whole size all the same.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),  # a connection that says nothing
    ("grpc.max_connection_idle_ms", 300_000),  # one without calls
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.so_reuseport", 0),  # a port in use is an error, not a silent half of the traffic
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_TIME_MS // 2),
)


def check_address(host: str, port: int) -> None:
    """Raise ListenError if an address is not to be had. gRPC would say so with a line of its own on stderr, too."""
    try:
        _try_bind(host, port)
    except OSError as error:
        raise cannot_listen(host, port) from error


def bind(server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None) -> int:
    """Have a server listen, with TLS if there are credentials; returns the bound port. Raises ListenError."""
    check_address(host, port)
    try:
        if credentials is None:
            return server.add_insecure_port(f"{host}:{port}")
        return server.add_secure_port(f"{host}:{port}", credentials)
    except RuntimeError as error:
        raise cannot_listen(host, port) from error


def cannot_listen(host: str, port: int) -> ListenError:
    """Return what is said of an address that is not to be had."""
    return ListenError(f"cannot listen on {host}:{port}: the port is taken, or the address is not of this machine")


def _try_bind(host: str, port: int) -> None:
    refused = OSError("no such address")
    for family, kind, protocol, _, place in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
                return
            except OSError as error:
                refused = error
    raise refused
