"""An address that an HTTP application answers at, with its connections bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import web

from splitnet.errors import ListenError
from splitnet.http_connections import Connections

END_S = 2.0


@dataclass(frozen=True)
class Listener:
    """Where it listens, HOST:PORT, and who has come."""

    address: str
    connections: Connections


@asynccontextmanager
async def listening_at(app: web.Application, option: str, host: str, port: int) -> AsyncIterator[Listener]:
    """Answer requests while in this block. option: that has named the address. Raises ListenError if it is taken."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, handle_signals=False)
    await runner.setup()
    connections = Connections(runner.server)
    try:
        server = await asyncio.get_running_loop().create_server(connections.protocol, host.strip("[]"), port)
    except OSError as error:
        await runner.cleanup()
        reason = "the port is taken, or the address is not of this machine"
        raise ListenError(f"cannot listen on {option} {host}:{port}: {reason}") from error
    sweeping = asyncio.create_task(connections.sweep())
    try:
        yield Listener(f"{host}:{server.sockets[0].getsockname()[1]}", connections)
    finally:
        sweeping.cancel()
        server.close()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(runner.cleanup(), END_S)
