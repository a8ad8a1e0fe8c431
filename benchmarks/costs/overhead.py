"""The price of wire, queues and threads: end-to-end time on loopback minus all computation.

A real `cloud-server` process and the client's real pipeline, one frame at a time. The next one is captured when the
detections of the last one are here, so nothing waits for another frame's computation.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.images import Image, frames_from
from benchmarks.harness.processes import server_process
from edge_client.adaptation.policy import FixedPolicy
from edge_client.capture.source import SourceImage, Wait
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from edge_client.frames import FrameResult
from edge_client.output.sinks import CallbackSink
from edge_client.pipeline import Pipeline
from edge_client.pipeline_settings import PipelineSettings
from splitnet.errors import ConfigError, SourceError
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE

WARM_UP_FRAMES = 10
ANSWER_TIMEOUT_S = 20.0


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="frames to send; scikit-image's if not given")
    parser.add_argument("--frames", type=int, default=150, help="frames at each operating point (%(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the client (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return the figures of the full width at the middle quality, and a row for every point measured."""
    if options.frames < 1:
        raise ConfigError("--frames must be positive")
    images = frames_from(options.images, 50)
    encoder = load_encoder(options.bundle, "cpu", options.threads)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "server.log"
        with server_process(options.bundle, log, "--log-level", "warning") as server:
            points = [_measure(server.address, encoder, images, point, options.frames) for point in _points(encoder)]
    figures = {key: points[0][key] for key in ("end_to_end_ms_p50", "compute_ms_p50", "overhead_ms_p50")}
    manifest = encoder.manifest
    return {"bundle": f"{manifest.name} {manifest.digest[:12]}", "frames": options.frames, **figures, "points": points}


BENCHMARK = Benchmark("overhead", "end-to-end time on loopback beyond all computation", _add_arguments, run)


def _points(encoder: EncoderRuntime) -> list[OperatingPoint]:
    manifest = encoder.manifest
    points = [OperatingPoint(Codec.RANS, manifest.widths, manifest.qualities // 2), OperatingPoint(Codec.RANS, 1, 0)]
    return points + [OperatingPoint(Codec.JPEG, 0, 75)] * manifest.has_detector


class LockstepSource:
    """Shows a number of images, each when the previous one has been answered."""

    finite = True
    fps = 10.0
    unreadable = 0

    def __init__(self, images: Sequence[Image], count: int) -> None:
        self._images = images
        self._count = count
        self._answered = threading.Semaphore()

    def images(self, wait: Wait) -> Iterator[SourceImage]:
        """Yield the images; raise SourceError if an answer fails to come."""
        for index, image in enumerate(islice(cycle(self._images), self._count)):
            if not self._answered.acquire(timeout=ANSWER_TIMEOUT_S):
                raise SourceError(f"frame {index} was not answered within {ANSWER_TIMEOUT_S:g} s")
            yield SourceImage(index / self.fps, image)

    def answered(self) -> None:
        """Let the next image come."""
        self._answered.release()


def _measure(
    server: str, encoder: EncoderRuntime, images: Sequence[Image], point: OperatingPoint, frames: int
) -> dict[str, object]:
    """Run one session and return the medians over its frames, the first few left out."""
    source = LockstepSource(images, WARM_UP_FRAMES + frames)
    results: list[FrameResult] = []

    def take(result: FrameResult) -> None:
        results.append(result)
        source.answered()

    settings = PipelineSettings(server, device_id="benchmark", live=False, max_in_flight=1, whole_frames=True)
    Pipeline(source, encoder, FixedPolicy(point), [CallbackSink(take)], settings).run_blocking()
    return {"point": str(point), **medians(results[WARM_UP_FRAMES:])}


def medians(results: Sequence[FrameResult]) -> dict[str, object]:
    """Return the medians of what answered frames took in milliseconds, and of their payload."""
    each = [_figures(result) for result in results]
    return {key: statistics.median(one[key] for one in each) for key in each[0]}


def _figures(result: FrameResult) -> dict[str, float]:
    """Return where a frame's time went; what is not computation is overhead, the server's queue included."""
    encode_ms, server = result.encoded.encode_ms, result.server
    compute_ms = encode_ms + server.decode_ms + server.infer_ms
    return {
        "payload_bytes_p50": len(result.encoded.payload),
        "end_to_end_ms_p50": result.end_to_end_ms,
        "compute_ms_p50": compute_ms,
        "overhead_ms_p50": result.end_to_end_ms - compute_ms,
        "encode_ms_p50": encode_ms,
        "decode_ms_p50": server.decode_ms,
        "infer_ms_p50": server.infer_ms,
        "wait_ms_p50": server.wait_ms,
    }
