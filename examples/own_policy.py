"""A policy of your own: it chooses how each frame is sent. Here as finely as an allowance of bytes a second permits.

python -m examples.own_policy --server EDGE-NODE:50051 --source street.mp4 --bytes-per-s 10000
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from pathlib import Path

from edge_client.adaptation.policy import Decision, FrameContext, Policy
from edge_client.build import build_pipeline
from edge_client.config import RunConfig
from edge_client.frames import FrameResult
from edge_client.output.sinks import CallbackSink
from splitnet.manifest import Manifest, load_manifest
from splitnet.operating_point import SKIP, Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE


class Allowance(Policy):
    """Saves up bytes, and spends them on the finest quality of the full width that they pay for."""

    def __init__(self, manifest: Manifest, bytes_per_s: float) -> None:
        """Take the bundle's manifest, and the allowance."""
        self._points = [OperatingPoint(Codec.RANS, manifest.widths, quality) for quality in range(manifest.qualities)]
        self._sizes = dict.fromkeys(self._points, 0.0)  # bytes, as the last frame at each was; 0: not tried yet
        self._bytes_per_s = bytes_per_s
        self._saved = bytes_per_s  # for a second at most
        self._at: float | None = None
        self._guard = threading.Lock()  # `choose` and `encoded` are called in another thread than the rest

    def choose(self, now: float, context: FrameContext) -> Decision:
        """Return the finest point that is paid for; SKIP if none is."""
        with self._guard:
            waited_s = 0.0 if self._at is None else now - self._at
            self._at = now
            self._saved = min(self._bytes_per_s, self._saved + waited_s * self._bytes_per_s)
            paid = [point for point in self._points if self._saved > 0 and self._sizes[point] <= self._saved]
        return Decision(paid[-1], "paid for") if paid else Decision(SKIP, "saving up")

    def encoded(
        self,
        now: float,
        frame_id: int,
        point: OperatingPoint,
        encode_ms: float,
        payload_bytes: int,
        builds: bool = False,
    ) -> None:
        """Pay, and remember what the point costs."""
        with self._guard:
            self._saved -= payload_bytes
            if point in self._sizes:
                self._sizes[point] = payload_bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Send a video or a folder of images within the allowance, and print what was chosen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, metavar="HOST:PORT", help="a cloud-server")
    parser.add_argument("--source", required=True, help="a camera, a video, a folder of images")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the server's bundle")
    parser.add_argument("--bytes-per-s", type=float, default=10_000.0, help="the allowance (%(default)s)")
    parsed = parser.parse_args(arguments)

    def show(result: FrameResult) -> None:
        print(f"frame {result.frame.frame_id}: {result.encoded.point}, {len(result.encoded.payload)} bytes")

    config = RunConfig(server=parsed.server, bundle=parsed.bundle, source=parsed.source)
    policy = Allowance(load_manifest(parsed.bundle), parsed.bytes_per_s)
    build_pipeline(config, [CallbackSink(show)], policy=policy).run_blocking()


if __name__ == "__main__":
    main()
