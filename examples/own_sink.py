"""A sink of your own: whatever takes results. Here a table of how many objects of each class were seen.

python -m examples.own_sink --server EDGE-NODE:50051 --source street.mp4
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from edge_client.build import build_pipeline
from edge_client.config import RunConfig
from edge_client.frames import FrameResult
from splitnet.manifest import load_manifest
from splitnet.settings import DEFAULT_BUNDLE


class Census:
    """A sink: `write` takes each answered frame, `close` ends it."""

    def __init__(self, class_names: Sequence[str]) -> None:
        """Take the names of the classes, by label."""
        self._class_names = class_names
        self.seen: Counter[str] = Counter()
        self.frames = 0

    def write(self, result: FrameResult) -> None:
        """Count what a frame shows."""
        self.frames += 1
        self.seen.update(self._class_names[label] for label in result.detections.labels)

    def close(self) -> None:
        """Print the table, the most frequent class first."""
        print(f"{self.frames} frames")
        for name, count in self.seen.most_common():
            print(f"{count / max(1, self.frames):8.2f} a frame  {name}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Send a video or a folder of images, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="HOST:PORT", help="a cloud-server")
    parser.add_argument("--source", required=True, help="a camera, a video, a folder of images")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the server's bundle")
    parsed = parser.parse_args(arguments)
    config = RunConfig(server=parsed.server, bundle=parsed.bundle, source=parsed.source)
    build_pipeline(config, [Census(load_manifest(parsed.bundle).class_names)]).run_blocking()


if __name__ == "__main__":
    main()
