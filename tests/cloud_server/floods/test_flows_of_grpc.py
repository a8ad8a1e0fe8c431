"""What the gate counts of real calls explains every byte that their connections had."""

from __future__ import annotations

import grpc
import pytest

from cloud_server.access.callers import Callers
from cloud_server.access.gate import CallLimits, Gate
from cloud_server.floods.flood_rule import FloodRule, Verdict
from cloud_server.floods.flows import Flows
from cloud_server.floods.own_sockets import OwnSockets, can_see

pytestmark = pytest.mark.skipif(not can_see(), reason="this system does not show a process its own sockets")
LARGE = bytes(1 << 20)


class Echo(grpc.GenericRpcHandler):
    """Answers what it is sent."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def stream(requests, context):
            async for request in requests:
                yield request

        async def single(request, context):
            return request

        if details.method == "/test/Stream":
            return grpc.stream_stream_rpc_method_handler(stream)
        return grpc.unary_unary_rpc_method_handler(single)


async def test_large_messages_and_many_calls_leave_nothing_unexplained():
    flows = Flows()
    rule = FloodRule(flows)
    server = grpc.aio.server(interceptors=[Gate(Callers(), CallLimits(), "/protected/", flows)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sockets = OwnSockets([port])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_stream("/test/Stream")()
        for _ in range(12):  # more bytes than a flood may have
            await call.write(LARGE)
            assert await call.read() == LARGE
            assert rule.look(0.0, sockets.look()) == Verdict((), ())
        for _ in range(40):
            await channel.unary_unary("/test/Single")(b"small")
        call.cancel()
        (seen,) = sockets.look()
        assert seen.read_bytes > 12 << 20 and seen.sent_bytes > 12 << 20
        assert rule.look(0.0, [seen]) == Verdict((), ())
        flow = flows.of(seen.peer)
        assert seen.read_bytes <= flow.received and seen.sent_bytes <= flow.sent
    await server.stop(0)
