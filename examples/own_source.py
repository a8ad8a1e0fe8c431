"""A source of your own: whatever makes images. Here a ball on a grey wall, as a camera would see it.

python -m examples.own_source --server EDGE-NODE:50051
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from edge_client.build import build_pipeline
from edge_client.capture.source import SourceImage, Wait
from edge_client.config import RunConfig
from edge_client.frames import FrameResult
from edge_client.output.sinks import CallbackSink
from splitnet.settings import DEFAULT_BUNDLE

SIZE = (640, 480)  # pixels


class Ball:
    """A source: `images` yields them, the rest says what kind of source it is."""

    finite = True  # it ends, and waits for the link before it begins
    unreadable = 0

    def __init__(self, frames: int, fps: float = 10.0) -> None:
        """Take how many frames to show, and how many in a second."""
        self.frames = frames
        self.fps = fps

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield BGR images (480, 640, 3) uint8 of the ball on its way."""
        width, height = SIZE
        for number in range(self.frames):
            image = np.full((height, width, 3), 150, np.uint8)
            cv2.circle(image, (40 + 12 * number % (width - 80), height // 2), 40, (30, 120, 240), -1)
            yield SourceImage(number / self.fps, image)


def main(arguments: Sequence[str] | None = None) -> None:
    """Send the frames, and print what was found in each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="HOST:PORT", help="a cloud-server")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the server's bundle")
    parser.add_argument("--frames", type=int, default=30, help="how many (%(default)s)")
    parsed = parser.parse_args(arguments)

    def show(result: FrameResult) -> None:
        print(f"frame {result.frame.frame_id}: {len(result.detections)} objects in {len(result.encoded.payload)} bytes")

    config = RunConfig(server=parsed.server, bundle=parsed.bundle, source="the ball")
    build_pipeline(config, [CallbackSink(show)], source=Ball(parsed.frames)).run_blocking()


if __name__ == "__main__":
    main()
