"""A real failover: a client that adapts, its server killed and started again, and what the client annotated of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness.cores import available_cores, on_cores
from benchmarks.harness.images import Image, sample_images
from benchmarks.harness.processes import child_process, server_process
from demo.client import end_client, wait_for_frames

FPS = 8
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
    """What the client has left: its annotated clip and its trace."""

    clip: Path
    trace: Path
    killed_s: float = 0.0  # when the server was, and was ready again, since the fate of the first frame was known
    back_s: float = 0.0


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
    """Run server and client, and kill the server in between. Raises SplitError if one of them does not run."""
    source, files = folder / "source", Recording(folder / "clip.mp4", folder / "run.jsonl")
    source.mkdir()
    for number, frame in enumerate(panned(sample_images(), round(FPS * SOURCE_S))):
        cv2.imwrite(str(source / f"{number:04d}.png"), frame)
    with ExitStack() as stack:
        server = stack.enter_context(server_process(bundle, folder / "server.log"))
        with on_cores(available_cores()[-1:]):
            for _ in range(BUSY_PROCESSES):
                stack.enter_context(child_process(BUSY))
            client = stack.enter_context(child_process(client_command(server.address, bundle, source, files)))
        wait_for_frames(client, files.trace)
        begun = time.monotonic()
        time.sleep(WITH_SERVER_S)
        server.process.kill()
        killed_s = time.monotonic() - begun
        stack.enter_context(server_process(bundle, folder / "again.log", "--listen", server.address))
        back_s = time.monotonic() - begun
        time.sleep(WITH_SERVER_S)
        end_client(client)
    return replace(files, killed_s=killed_s, back_s=back_s)


def client_command(server: str, bundle: Path, source: Path, recording: Recording) -> list[str]:
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
        *("--annotate", str(recording.clip), "--trace-out", str(recording.trace)),
    ]
