"""The device detects by itself: the bundle's local detector, in a thread of its own that yields to the encoder."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from edge_client.capture.mailbox import Mailbox
from edge_client.encoding.backends import ONNXRUNTIME, TORCH, by_onnxruntime
from edge_client.encoding.free_memory import free_memory
from edge_client.encoding.idle_memory import release_idle_memory
from edge_client.frames import ChosenFrame, EncodedFrame, Image
from edge_client.threads import lower_priority
from edge_client.turns import Turns
from splitnet.detections import Detections
from splitnet.letterbox import LATENT_STRIDE, Letterbox, stretched_canvas
from splitnet.operating_point import LOCAL

if TYPE_CHECKING:
    from torch import Tensor

    from splitnet.manifest import LocalDetector, Manifest
    from splitnet.nn.detector import Architecture, Detector
    from splitnet.nn.onnx_network import OnnxNetwork

logger = logging.getLogger(__name__)

# YOLOX-nano at 416 pixels took 28 MB with PyTorch and 42 MB with ONNX Runtime; this bound is half as much again.
WEIGHT_COPIES = 10  # as stored: read, in single precision, and as the runtime lays them out
BYTES_PER_PIXEL = 240  # of the square
WITHOUT = "runs without the local detector %s: %s"

LocalResult = tuple[EncodedFrame, Detections]
Network = Callable[[Image], "Tensor"]  # from a canvas (H, W, 3) to raw predictions (A, K)


class LocalRuntime:
    """The local detector, ready to run, from any thread; one frame after the other.

    It sees the canvas, not the square: what is grey everywhere costs nothing.
    """

    def __init__(
        self,
        network: Network,
        architecture: Architecture,
        input_size: int,
        backend: str = TORCH,
        name: str = "",
        digest: str | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Take the network of a detector of this architecture. backend: what runs it (see `backends`).

        digest: SHA-256 of its weights where they are no part of the bundle's digest.
        """
        self.backend, self.name, self.digest = backend, name, digest
        self._network = network
        self._architecture = architecture
        self._input_size = input_size
        self._fills = architecture.fills
        self._multiple = LATENT_STRIDE if self._fills else architecture.canvas_multiple(input_size)
        self._clock = clock
        self._free = Lock()

    def detect(self, image: Image) -> LocalResult:
        """Find the objects in a frame (H, W, 3) uint8 BGR; returns what it cost, without a payload, and them."""
        with self._free:
            return self._detect(image)

    def _detect(self, image: Image) -> LocalResult:
        begin = self._clock()
        letterbox = Letterbox.fit(image.shape[1], image.shape[0], self._input_size, self._multiple)
        canvas = letterbox.apply(image)
        fitted = self._clock()
        if self._fills:
            canvas = stretched_canvas(canvas, self._input_size)
        (found,) = self._architecture.detections(self._network(canvas)[None], canvas.shape[:2])
        boxes = letterbox.boxes_to_frame(found.boxes, self._input_size if self._fills else None)
        detections = Detections(boxes, found.scores, found.labels)
        done = self._clock()
        return EncodedFrame(LOCAL, b"", (fitted - begin) * 1000, (done - fitted) * 1000, 0.0), detections


class LocalThread:
    """Feeds a `LocalRuntime` one frame at a time; of those that wait the newest wins."""

    def __init__(
        self,
        runtime: LocalRuntime,
        on_detected: Callable[[ChosenFrame, LocalResult], None],
        on_overtaken: Callable[[ChosenFrame], None],
        turns: Turns | None = None,
    ) -> None:
        """Take what to call, in this thread, with each result; `release` then lets the next frame come.

        turns: at the detector, where several cameras share it.
        """
        self._runtime = runtime
        self._turns = turns or Turns()
        self._on_detected = on_detected
        self._on_overtaken = on_overtaken
        self._mailbox: Mailbox[ChosenFrame] = Mailbox(1, on_overtaken)
        self._mailbox.resume()

    @property
    def pending(self) -> int:
        """Frames that wait or are being looked at."""
        return self._mailbox.pending

    def use(self, runtime: LocalRuntime) -> None:
        """Let another detector look at the frames that come from now on."""
        self._runtime = runtime

    def run(self) -> None:
        """Detect until `finish` or `close`."""
        lower_priority()
        while self._mailbox.wait():
            with self._turns:
                if (taken := self._mailbox.take_now()) is None:
                    continue
                chosen, _ = taken
                found = self._runtime.detect(chosen.frame.image)
            self._on_detected(chosen, found)

    def submit(self, chosen: ChosenFrame, wait: bool) -> None:
        """Hand a frame over; with `wait`, once the one before has been taken, so that none is overtaken."""
        if not self._mailbox.put(chosen, wait):
            self._on_overtaken(chosen)  # by the end

    def release(self) -> None:
        """Let the next frame come: the last result has found its place."""
        self._mailbox.release()

    def finish(self) -> None:
        """End `run` after the frame that may still wait."""
        self._mailbox.finish()

    def close(self) -> None:
        """End `run` after the frame it has in hand."""
        self._mailbox.close()


def load_local(
    folder: Path, manifest: Manifest, device: str, threads: int = 1, backend: str = TORCH
) -> LocalRuntime | None:
    """Load a bundle's local detector onto "cpu" or "cuda", warmed up.

    None if it is not on this device, or, with a warning, if there is no memory for it. threads: of ONNX Runtime;
    PyTorch uses those that it has been given for the encoder. backend: one of `backends.BACKENDS`. Raises BundleError
    if it is damaged, or ConfigError if there is no such back end.
    """
    local, path = manifest.local_detector, folder / manifest.local_file
    if local is None or not path.exists():
        return None
    needed, free = memory_needed(local), free_memory()
    if free is not None and free < needed:
        reason = f"it needs {needed / 1e6:.0f} MB of memory, {free / 1e6:.0f} MB are free"
        logger.warning(WITHOUT, local.detector, reason)
        return None
    try:
        return _load(folder, manifest, local, device, threads, backend)
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or "can't allocate memory" in str(error)):  # as PyTorch says it
            raise
        logger.warning(WITHOUT, local.detector, "there is no memory for it")
        return None


def memory_needed(local: LocalDetector) -> int:
    """Return the bytes that a local detector takes, about: its weights while they are read, and what it computes."""
    return WEIGHT_COPIES * local.file.bytes + BYTES_PER_PIXEL * local.input_size**2


def _load(
    folder: Path, manifest: Manifest, local: LocalDetector, device: str, threads: int, backend: str
) -> LocalRuntime | None:
    import numpy as np  # here, as torch below, because a program that shows its help can do without

    from splitnet.bundle import load_local_detector
    from splitnet.nn.architectures import architecture_of
    from splitnet.nn.onnx_network import OnnxNetwork

    detector = load_local_detector(folder, manifest)
    if detector is None:
        return None
    session = by_onnxruntime(lambda: OnnxNetwork(detector, None, threads), "the local detector", device, backend)
    network = _pytorch_network(detector, device) if session is None else _onnx_network(session)
    runs_by = TORCH if session is None else ONNXRUNTIME
    digest = None if manifest.local is None else manifest.local.file.sha256
    architecture = architecture_of(local.detector)
    runtime = LocalRuntime(network, architecture, local.input_size, runs_by, local.detector, digest)
    runtime.detect(np.zeros((local.input_size, local.input_size, 3), np.uint8))
    release_idle_memory()
    return runtime


def _pytorch_network(detector: Detector, device: str) -> Network:
    import torch

    from splitnet.nn.blocks import place

    placed = place(detector, torch.device(device))

    @torch.inference_mode()
    def run(canvas: Image) -> Tensor:
        raw: Tensor = placed(torch.from_numpy(canvas).to(device).permute(2, 0, 1)[None].float())[0]
        return raw

    return run


def _onnx_network(session: OnnxNetwork) -> Network:
    import torch

    return lambda canvas: torch.from_numpy(session(canvas))
