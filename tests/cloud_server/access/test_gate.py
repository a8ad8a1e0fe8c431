"""The gate: places, turns and requests that do not come, over real streams with a fake clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest

from cloud_server.access import gate as module
from cloud_server.access.callers import Callers, current_caller
from cloud_server.access.gate import CallLimits, Gate


class Services(grpc.GenericRpcHandler):
    """One method that waits until it is told, and one that answers at once."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.told = asyncio.Event()
        self.callers: list[str] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        async def wait(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.begun.release()
            await self.told.wait()
            return request

        async def at_once(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.callers.append(current_caller(context.peer()).address)
            return request

        methods = {"/test/Wait": wait, "/test/AtOnce": at_once}
        found = methods.get(details.method)
        return None if found is None else grpc.unary_unary_rpc_method_handler(found)


@asynccontextmanager
async def gated(limits: CallLimits) -> AsyncIterator[tuple[Services, Gate, grpc.aio.Channel]]:
    services, gate = Services(), Gate(Callers(), limits, "/protected/", clock=lambda: 0.0)
    server = grpc.aio.server(interceptors=[gate])
    server.add_generic_rpc_handlers((services,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield services, gate, channel
    services.told.set()
    await server.stop(0)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(module, "REFUSAL_PAUSE_S", 0.0)


async def refusal(call: grpc.aio.UnaryUnaryCall) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, 10)
    return caught.value.code(), caught.value.details() or ""


async def test_a_call_is_answered_and_knows_its_caller():
    async with gated(CallLimits()) as (services, _, channel):
        assert await channel.unary_unary("/test/AtOnce")(b"request") == b"request"
        assert services.callers == ["ipv4:127.0.0.1"]


async def test_a_call_beyond_its_place_is_refused_and_counted_and_a_place_is_free_again():
    async with gated(CallLimits(per_address=1)) as (services, gate, channel):
        first = channel.unary_unary("/test/Wait")(b"first")
        await asyncio.wait_for(services.begun.acquire(), 10)
        status, text = await refusal(channel.unary_unary("/test/AtOnce")(b"second"))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED and "which is the limit" in text
        assert gate.refused == {"RESOURCE_EXHAUSTED": 1}
        services.told.set()
        assert await first == b"first"
        assert await channel.unary_unary("/test/AtOnce")(b"third") == b"third"


async def test_calls_beyond_their_rate_are_refused():
    async with gated(CallLimits(per_s=0.25)) as (_, _gate, channel):
        assert await channel.unary_unary("/test/AtOnce")(b"first") == b"first"
        status, text = await refusal(channel.unary_unary("/test/AtOnce")(b"second"))
        assert status is grpc.StatusCode.RESOURCE_EXHAUSTED and text.startswith("over 0.25 calls a second")


async def test_a_request_that_does_not_come_ends_its_call(monkeypatch):
    monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", 0.0)
    async with gated(CallLimits()) as (_, _gate, channel):
        call = channel.stream_unary("/test/AtOnce")()
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_method_that_is_not_there_passes_the_gate_too():
    async with gated(CallLimits()) as (_, _gate, channel):
        status, _ = await refusal(channel.unary_unary("/test/Nothing")(b""))
        assert status is grpc.StatusCode.UNIMPLEMENTED
