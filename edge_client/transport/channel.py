"""A gRPC channel to a server: its name resolved as everything else on the device resolves names, no proxy on the way.

gRPC's own resolver asks name servers only, so that it knows no `edge-node.local` (mDNS), and gRPC takes the proxies of
the environment, behind which an edge node hardly ever is.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

import grpc

from edge_client.threads import in_thread
from edge_client.transport.credentials import NO_TLS, ServerTls
from edge_client.transport.servers import split_address
from splitnet.errors import LinkError
from splitnet.messages import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS, MAX_MESSAGE_BYTES

CHANNEL_OPTIONS = (
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.use_local_subchannel_pool", 1),  # else a new channel inherits the dead one's own back-off
    ("grpc.enable_retries", 0),  # a frame sent twice is a frame too late
)


async def open_channel(server: str, use_proxy: bool = False, tls: ServerTls = NO_TLS) -> grpc.aio.Channel:
    """Return a channel to "host:port"; with use_proxy, through the proxy that the environment names, if any.

    tls: how it is secured. Raises LinkError if the host's name is not known.
    """
    if use_proxy:  # which resolves the name itself
        return _channel(f"dns:///{server}", (("grpc.enable_http_proxy", 1),), tls)
    own = (("grpc.enable_http_proxy", 0), ("grpc.default_authority", tls.name or server))  # TLS compares it, too
    return _channel(await _target(server), own, tls)


def _channel(target: str, options: Sequence[tuple[str, str | int]], tls: ServerTls) -> grpc.aio.Channel:
    if tls.credentials is None:
        return grpc.aio.insecure_channel(target, options=(*CHANNEL_OPTIONS, *options))
    expected = () if tls.name is None else (("grpc.ssl_target_name_override", tls.name),)
    return grpc.aio.secure_channel(target, tls.credentials, options=(*CHANNEL_OPTIONS, *options, *expected))


async def _target(server: str) -> str:
    """Return all addresses of a server as a target of gRPC, which tries one after the other."""
    host, port = split_address(server)
    addresses = await _resolved(host)
    if any(":" in address for address in addresses):  # in one list, IPv4 has to be written as IPv6
        mapped = (address if ":" in address else f"::ffff:{address}" for address in addresses)
        return "ipv6:" + ",".join(f"[{address}]:{port}".replace("%", "%25") for address in mapped)
    return "ipv4:" + ",".join(f"{address}:{port}" for address in addresses)


async def _resolved(host: str) -> Sequence[str]:
    """Return a host's addresses, as the C library gives them; in a thread nobody waits for at the end."""
    found: list[str] = []

    def look_up() -> None:
        for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
            found.append(str(address[0]))

    try:
        await in_thread(look_up, "name look-up")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no host name"
        raise LinkError(f"the name {host} is not known here ({reason})") from error
    return list(dict.fromkeys(found))
