"""Floods below gRPC against a real server: they are cut, their address is barred, and an honest device goes on."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest

from benchmarks.serving.raw_attacks import endless_headers, pings_and_settings, sent
from cloud_server.access.entrance import open_entrance
from cloud_server.floods.own_sockets import can_see
from cloud_server.server import Server
from edge_client.transport.session import open_session
from splitnet.messages import FrameDetections, FrameError, OpenSession
from tests.support.fake_model import DIGEST, frame
from tests.support.locked_server import started

pytestmark = pytest.mark.skipif(not can_see(), reason="this system does not show a process its own sockets")
PATIENCE_S = 60.0


@asynccontextmanager
async def answered(address: str):
    """Yield a session whose every frame must be answered."""
    async with open_session(address, OpenSession("honest", DIGEST)) as session:
        replies = session.replies()

        async def one() -> object:
            session.send(frame(1))
            async for reply in replies:
                if isinstance(reply, FrameDetections | FrameError):
                    return reply
            return None

        yield one


async def _until_cut(server: Server) -> None:
    while not server.floods:  # the guard looks by a clock of its own
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("flood", [endless_headers, pings_and_settings])
async def test_a_flood_is_cut_and_a_session_that_was_open_goes_on_even_from_its_address(flood):
    async with started(open_entrance()) as (server, address, _):
        host, _, port = address.rpartition(":")
        async with answered(address) as answer:
            await answer()
            flooding = asyncio.create_task(sent(host, int(port), flood))
            await asyncio.wait_for(_until_cut(server), PATIENCE_S)
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            assert isinstance(await asyncio.wait_for(answer(), PATIENCE_S), FrameDetections)
        with pytest.raises(OSError), suppress(asyncio.IncompleteReadError):
            await asyncio.wait_for(asyncio.open_connection(host, int(port)), 0.1)
