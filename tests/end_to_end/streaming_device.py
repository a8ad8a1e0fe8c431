"""A device in a process of its own, to be killed: `python -m tests.end_to_end.streaming_device SERVER NAME DIGEST`.

Reads a frame's payload from stdin, sends it again and again, and prints a line for every answer.
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from edge_client.transport.session import open_session
from splitnet.messages import Frame, FrameDetections, OpenSession
from splitnet.operating_point import Codec, OperatingPoint

POINT = OperatingPoint(Codec.RANS, 2, 1)
FRAME_SIZE = (640, 480)
IN_FLIGHT = 4


async def stream(server: str, name: str, digest: str, payload: bytes) -> None:
    async with open_session(server, OpenSession(name, digest), timeout_s=120.0) as session:
        numbers = itertools.count(1)

        def send() -> None:
            session.send(Frame(next(numbers), 0, POINT, payload, *FRAME_SIZE))

        for _ in range(IN_FLIGHT):
            send()
        async for reply in session.replies():
            if isinstance(reply, FrameDetections):
                print(reply.frame_id, flush=True)
                send()


if __name__ == "__main__":
    asyncio.run(stream(*sys.argv[1:4], sys.stdin.buffer.read()))
