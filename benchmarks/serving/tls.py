"""What TLS costs a frame: messages of its size to and fro on one stream, in the clear, under TLS and under mutual TLS.

Nothing is computed here, so that nothing hides it; what is left of it beside a detector, real servers show. The three
take turns in short rounds, so that whatever else the machine does meets all of them alike. Both ends are in this
process: its processor time is that of both.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks.harness.benchmark import Benchmark
from benchmarks.serving.tls_throughput import throughput
from cloud_server.access.authority import SERVER_NAME, AccessFolder
from cloud_server.access.server_tls import CertificateFiles, ServerCertificate, server_credentials
from edge_client.percentiles import percentile
from splitnet.device_keys import new_client_certificate, new_root, root_as_pem
from splitnet.errors import ConfigError
from splitnet.settings import DEFAULT_BUNDLE

ROUND = 100  # messages
REPLY_BYTES = 200  # of an ack, or of a few boxes
METHOD = "/benchmark/Echo"
WAYS = ("clear", "tls", "mutual tls")

Call = grpc.aio.StreamStreamCall[bytes, bytes]


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=60, help=f"of {ROUND} messages, for each way (%(default)s)")
    parser.add_argument("--payload-bytes", type=int, default=4000, help="of a frame (%(default)s)")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="to serve (%(default)s)")
    parser.add_argument("--serve-rounds", type=int, default=7, help="of servers at their limit (%(default)s)")
    parser.add_argument("--serve-s", type=float, default=4.0, help="seconds of such a round (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return p50 and processor time of a message and its reply, for each way."""
    if not (1 <= options.rounds <= 10_000 and 1 <= options.payload_bytes <= 1 << 20):
        raise ConfigError("--rounds takes 1 to 10000, --payload-bytes 1 to 1048576")
    if not (0 <= options.serve_rounds <= 1000 and 0.1 <= options.serve_s <= 600):
        raise ConfigError("--serve-rounds takes 0 to 1000, --serve-s 0.1 to 600")
    ways = asyncio.run(_measured(options.rounds, bytes(options.payload_bytes)))
    served = throughput(options.bundle, options.serve_rounds, options.serve_s) if options.serve_rounds else []
    return {"rounds": options.rounds, "payload_bytes": options.payload_bytes, "ways": ways, "served": served}


BENCHMARK = Benchmark("tls", "what TLS costs a frame", _add_arguments, run)


async def _measured(rounds: int, payload: bytes) -> list[dict[str, object]]:
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    costs: dict[str, list[float]] = {way: [] for way in WAYS}
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(one) for one in _streams(Path(stack.enter_context(_folder())))]
        for _ in range(rounds + 1):
            for way, call in zip(WAYS, calls, strict=True):
                begin = time.process_time()
                times[way].append(median(await _round(call, payload)))
                costs[way].append(1000 * (time.process_time() - begin) / ROUND)
    return [
        {"way": way, "p50_ms": _quiet(times[way][1:]), "cpu_ms": _quiet(costs[way][1:])} for way in WAYS
    ]  # the first round warms up


async def _round(call: Call, payload: bytes) -> list[float]:
    times = []
    for _ in range(ROUND):
        begin = time.perf_counter()
        await call.write(payload)
        await call.read()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def _quiet(figures: list[float]) -> float:
    """Return the figure of the quietest tenth of the rounds: what else the machine does only adds to it."""
    return percentile(figures, 10)


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def _streams(folder: Path) -> Sequence[AbstractAsyncContextManager[Call]]:
    access = AccessFolder(folder)
    access.init([], datetime.now(timezone.utc))
    certificate = ServerCertificate(CertificateFiles(access.server_file, access.server_file))
    key = Ed25519PrivateKey.generate()
    roots = root_as_pem(new_root(key))
    tls_key, chain = new_client_certificate(key)
    trusted = grpc.ssl_channel_credentials(access.authority())
    known = grpc.ssl_channel_credentials(access.authority(), tls_key, chain)
    return [
        _stream(None, None),
        _stream(server_credentials(certificate, None), trusted),
        _stream(server_credentials(certificate, lambda: roots), known),
    ]


class _Echo(grpc.GenericRpcHandler):
    """Answers every message by a short one."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of all methods."""

        async def echo(requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
            async for _ in requests:
                await context.write(bytes(REPLY_BYTES))

        return grpc.stream_stream_rpc_method_handler(echo)


@asynccontextmanager
async def _stream(
    server_side: grpc.ServerCredentials | None, client_side: grpc.ChannelCredentials | None
) -> AsyncIterator[Call]:
    """Yield a stream to a server of its own."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Echo(),))
    if server_side is None or client_side is None:
        port = server.add_insecure_port("127.0.0.1:0")
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    else:
        port = server.add_secure_port("127.0.0.1:0", server_side)
        named = (("grpc.ssl_target_name_override", SERVER_NAME),)
        channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", client_side, options=named)
    await server.start()
    async with channel:
        call: Call = channel.stream_stream(METHOD)()
        yield call
        call.cancel()
    await server.stop(0)
