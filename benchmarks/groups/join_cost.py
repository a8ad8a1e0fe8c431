"""What joining the parts of a frame costs the server's event loop, decoding and computing aside."""

from __future__ import annotations

import time

from cloud_server.groups.frame_join import FrameJoin
from cloud_server.groups.roster import Roster
from edge_client.percentiles import percentile
from splitnet.messages import Frame, GroupPlace
from splitnet.operating_point import Codec, OperatingPoint

FRAMES = 2000
PAYLOAD = bytes(1000)
FPS = 30


def join_cost(devices: int, frames: int = FRAMES) -> dict[str, object]:
    """Return the time of joining a frame's parts, all of them together, in milliseconds."""
    roster: Roster[int] = Roster()
    join: FrameJoin[int, str] = FrameJoin(roster)
    for part in range(1, devices + 1):
        roster.seat(part, GroupPlace("measured", part, devices), f"device {part}")
    point, times_ms = OperatingPoint(Codec.RANS, 1, 0), []
    for frame_id in range(1, frames + 1):
        now = frame_id / FPS
        parts = [Frame(frame_id, 0, point, PAYLOAD, 640, 480, deadline_ms=200, group_stream=1) for _ in range(devices)]
        begin = time.perf_counter()
        for part, frame in enumerate(parts, start=1):
            for joined in join.add(now, part, frame, 0.01)[0]:
                join.answered(joined.key, "an answer")
        times_ms.append(1000 * (time.perf_counter() - begin))
    times_ms = times_ms[frames // 10 :]
    return {
        "devices": devices,
        "join_ms_p50": round(percentile(times_ms, 50), 4),
        "join_ms_p99": round(percentile(times_ms, 99), 4),
    }
