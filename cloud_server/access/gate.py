"""What every call passes before anything of it is read: who it is, how many it has open, and how often it may.

gRPC reads the request of a unary call before it asks anybody. So each is served as a stream of one message here, which
is the same on the wire: what has no place is refused with nothing of it in memory, and what does not come in time ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from cloud_server.access.budgets import Buckets, Places
from cloud_server.access.callers import CALLER, Caller, Callers
from cloud_server.floods.flows import Flows, count_received, count_sent
from splitnet.errors import DeadlineExceededError, ProtocolError, ShedError, SplitError
from splitnet.wire.statuses import status_of

BURST_S = 4.0  # as many calls at once as are allowed in this time
MAX_WAIT_S = 2.0  # for a call's turn; then it is refused
REFUSAL_PAUSE_S = 1.0  # before a call without a place is told so: whoever asks again at once gains nothing
MAX_WAITING = 64  # of one address for their turn
MAX_PAUSING = 128  # of one address; further ones are told at once
REQUEST_TIMEOUT_S = 10.0

logger = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class CallLimits:
    """How many calls may be open, sessions included."""

    per_address: int = 64  # that has not shown who it is
    per_device: int = 8
    per_s: float = 50.0  # of one address: sessions opened, single calls, health checks


class Gate(grpc.aio.ServerInterceptor):
    """Stands before all services. Everything here runs on the event loop."""

    def __init__(
        self,
        callers: Callers,
        limits: CallLimits,
        protected: str | tuple[str, ...],
        flows: Flows | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take who may come, and the prefixes of the methods that only known callers may use ("/package.Service/").

        flows: who is told of calls and messages.
        """
        self._flows = flows or Flows()
        self._callers = callers
        self._limits = limits
        self._protected = protected
        self._clock = clock
        self._buckets = Buckets(limits.per_s, BURST_S * limits.per_s)
        self._open = Places()
        self._waiting = Places()
        self._pausing = Places()
        self.refused: Counter[str] = Counter()  # calls, by status

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """Return the handler of a call behind the gate."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return grpc.stream_stream_rpc_method_handler(self._unknown)
        method = handler_call_details.method or ""
        if handler.response_streaming:
            serve = handler.stream_stream if handler.request_streaming else handler.unary_stream
            behind = self._streaming(serve, method, handler.request_streaming)
            make = grpc.stream_stream_rpc_method_handler
        else:
            serve = handler.stream_unary if handler.request_streaming else handler.unary_unary
            behind = self._single(serve, method, handler.request_streaming)
            make = grpc.stream_unary_rpc_method_handler
        return make(behind, _counting_in(handler.request_deserializer), _counting_out(handler.response_serializer))

    def _single(self, serve: Any, method: str, takes_stream: bool) -> Any:
        async def behind(requests: AsyncIterator[Any], context: Context) -> Any:
            async with self._passed(context, method):
                return await serve(requests if takes_stream else await _only_request(context), context)

        return behind

    def _streaming(self, serve: Any, method: str, takes_stream: bool) -> Any:
        async def behind(requests: AsyncIterator[Any], context: Context) -> None:
            async with self._passed(context, method):
                replies = serve(requests if takes_stream else await _only_request(context), context)
                if isinstance(replies, Awaitable):  # it writes by itself
                    await replies
                else:
                    async for reply in replies:
                        await context.write(reply)

        return behind

    async def _unknown(self, requests: AsyncIterator[Any], context: Context) -> None:
        async with self._passed(context, ""):
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    @asynccontextmanager
    async def _passed(self, context: Context, method: str) -> AsyncIterator[None]:
        """Hold a call's place in this block. Ends the call where it may not pass, or where the block says why not."""
        self._flows.called(context.peer())
        try:
            await self._turn(self._callers.anyone(context.peer()))
            caller = self._caller(context, method)
            with (
                self._open.take(caller.payer, self._most(caller), "calls and sessions"),
                self._flows.passed(context.peer()),
            ):
                CALLER.set(caller)
                yield
        except SplitError as error:
            await self._refuse(context, error)

    def _most(self, caller: Caller) -> int:
        if caller.name is None:
            return self._limits.per_address
        device = caller.device
        return self._limits.per_device if device is None or device.max_sessions is None else device.max_sessions

    def _caller(self, context: Context, method: str) -> Caller:
        if not method.startswith(self._protected):
            return self._callers.anyone(context.peer())
        return self._callers.known(context.peer(), context.auth_context(), context.invocation_metadata() or ())

    async def _turn(self, caller: Caller) -> None:
        now = self._clock()
        if self._buckets.waits(caller.payer, now) > MAX_WAIT_S:
            raise ShedError(f"over {self._limits.per_s:g} calls a second: ask less often, or open a session")
        wait_s = self._buckets.take(caller.payer, now)
        if wait_s > 0:
            with self._waiting.take(caller.payer, MAX_WAITING, "calls that wait"):
                await asyncio.sleep(wait_s)

    async def _refuse(self, context: Context, error: SplitError) -> None:
        payer, status = self._callers.anyone(context.peer()).payer, status_of(error)
        self.refused[status.name] += 1
        logger.info("call refused", extra={"peer": context.peer(), "reason": str(error)})
        if isinstance(error, ShedError) and self._pausing.taken(payer) < MAX_PAUSING:
            with self._pausing.take(payer, MAX_PAUSING, "refusals"):
                await asyncio.sleep(REFUSAL_PAUSE_S)
        await context.abort(status, str(error))


def _counting_in(make: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    def counted(raw: bytes) -> Any:
        count_received(raw)
        return raw if make is None else make(raw)

    return counted


def _counting_out(make: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    def counted(message: Any) -> bytes:
        raw: bytes = message if make is None else make(message)
        count_sent(raw)
        return raw

    return counted


async def _only_request(context: Context) -> Any:
    """Return the message of a stream that has one. Raises DeadlineExceededError, ProtocolError."""
    try:
        request = await asyncio.wait_for(context.read(), REQUEST_TIMEOUT_S)
    except asyncio.TimeoutError:
        raise DeadlineExceededError(f"a request must be here within {REQUEST_TIMEOUT_S:g} s") from None
    except DecodeError as error:
        raise ProtocolError(f"the request does not follow the .proto file: {error}") from error
    if request is grpc.aio.EOF:
        raise ProtocolError("the call has no request")
    return request
