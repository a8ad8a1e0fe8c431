"""A real failover: a client that adapts, its server killed and started again, and what the client annotated of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness.cores import available_cores, on_cores, shared_out
from benchmarks.harness.images import Image, sample_images
from benchmarks.harness.processes import child_process, server_process
from demo.client import end_client, wait_for_frames
from splitnet.operating_point import Codec, OperatingPoint

FPS = 12
SOURCE_S = 20.0  # then it starts over
WITH_SERVER_S = 5.0  # before the server is killed, and after it is back
FRAME_SIZE = (480, 360)  # width, height
SHARE = 0.8  # of a photograph's shorter side that is seen at once
DEADLINE_MS = 250
MAX_KBPS = 500  # so that features pay
BUSY = ["benchmarks.harness.cpu_load", "--processes", "1"]
BUSY_PROCESSES = 6  # on the device's core, which makes it as slow as a small board's


@dataclass(frozen=True)
class Recording:
    """The client's lines of detections and its annotated images, and when there was no server."""

    detections: Path
    images: Path
    killed: datetime
    back: datetime


@dataclass(frozen=True)
class Moment:
    """An annotated frame (H, W, 3) and what is known of it."""

    image: Image
    mode: str  # "split", "image" or "local"
    point: str  # "w4 q2", "local"
    kilobytes: float
    end_to_end_ms: float
    alone_s: float | None  # since the server was killed; None while there is one


def panned(photographs: Mapping[str, Image], count: int) -> Iterator[Image]:
    """Yield so many frames, an equal share of them for each photograph: the camera turns from left to right."""
    images = list(photographs.values())
    for number in range(count):
        place = number * len(images) / count
        image, progress = images[int(place)], place % 1.0
        height = int(SHARE * min(image.shape[0], image.shape[1] * FRAME_SIZE[1] / FRAME_SIZE[0]))
        width = height * FRAME_SIZE[0] // FRAME_SIZE[1]
        top, left = (image.shape[0] - height) // 4, round((image.shape[1] - width) * progress)
        seen = image[top : top + height, left : left + width]
        yield np.asarray(cv2.resize(seen, FRAME_SIZE, interpolation=cv2.INTER_LINEAR), np.uint8)


def recorded(bundle: Path, folder: Path) -> Recording:
    """Run server and client, and kill the server in between. Raises SplitError if one of them does not run.

    The device's core is its own: a server that shared it would be as slow as the device, and nobody would send to it.
    """
    cores = shared_out(available_cores(), max(1, len(available_cores()) - 1))
    source, detections, images = folder / "source", folder / "detections.jsonl", folder / "annotated"
    source.mkdir()
    for number, frame in enumerate(panned(sample_images(), round(FPS * SOURCE_S))):
        cv2.imwrite(str(source / f"{number:04d}.png"), frame)
    with ExitStack() as stack:
        with on_cores(cores.server):
            server = stack.enter_context(server_process(bundle, folder / "server.log"))
        with on_cores(cores.load):
            for _ in range(BUSY_PROCESSES):
                stack.enter_context(child_process(BUSY))
            command = client_command(server.address, bundle, source, detections, images)
            client = stack.enter_context(child_process(command))
        wait_for_frames(client, detections)
        time.sleep(WITH_SERVER_S)
        server.process.kill()
        killed = datetime.now(timezone.utc)
        with on_cores(cores.server):
            stack.enter_context(server_process(bundle, folder / "again.log", "--listen", server.address))
        back = datetime.now(timezone.utc)
        time.sleep(WITH_SERVER_S)
        end_client(client)
    return Recording(detections, images, killed, back)


def client_command(server: str, bundle: Path, source: Path, detections: Path, images: Path) -> list[str]:
    """Return what a user would type after `python -m`."""
    return [
        *("edge_client", "run", "--server", server, "--bundle", str(bundle.resolve()), "--source", str(source)),
        *(
            "--deadline-ms",
            str(DEADLINE_MS),
            "--max-kbps",
            str(MAX_KBPS),
            "--fps",
            str(FPS),
            "--device-id",
            "camera",
            "--loop",
        ),
        *("--out", str(detections), "--annotate", str(images)),
    ]


def moments(recording: Recording) -> Iterator[Moment]:
    """Yield what the client has annotated, in the order of its answers."""
    for line in recording.detections.read_text(encoding="utf-8").splitlines():
        record: dict[str, Any] = json.loads(line)
        image = cv2.imread(str(_annotated(recording.images, record)))
        if image is None:  # the client was ended before it was written
            continue
        captured = datetime.fromisoformat(record["time_utc"].replace("Z", "+00:00"))
        alone_s = (
            (captured - recording.killed).total_seconds() if recording.killed <= captured < recording.back else None
        )
        point = str(OperatingPoint(Codec(record["codec"]), record["width"], record["quality"]))
        kilobytes, took_ms = record["bytes"] / 1000, record["end_to_end_ms"]
        yield Moment(np.asarray(image, np.uint8), record["mode"], point, kilobytes, took_ms, alone_s)


def _annotated(images: Path, record: Mapping[str, Any]) -> Path:
    """Return where a frame is: under its own name, or with its number where a frame before had that name."""
    name = Path(record["file"])
    numbered = images / f"{name.stem}-{record['frame_id']:06d}{name.suffix}"
    return numbered if numbered.exists() else images / name.name
