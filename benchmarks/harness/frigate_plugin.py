"""Frigate's side of its ZMQ detector protocol, written from docs/frigate.md: a double of the plug-in."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

NOTHING = np.zeros((20, 6), np.float32)
MODEL_TIMEOUT_MS = 30_000


class FrigatePlugin:
    """One detector process of Frigate: a REQ socket, one request at a time, a new socket after a timeout."""

    def __init__(self, endpoint: str, timeout_ms: int = 200, model: str = "slimsplit") -> None:
        """Connect, and ask for the model."""
        self.endpoint, self.timeout_ms, self.model = endpoint, timeout_ms, model
        self.restarts = 0
        self.about: dict[str, Any] = {}  # the header of the latest answer
        self.context = zmq.Context()
        self.socket = self._connected()
        self.is_ready = self.ask_for_model()

    def _connected(self) -> zmq.Socket[bytes]:
        socket = self.context.socket(zmq.REQ)
        for option in (zmq.RCVTIMEO, zmq.SNDTIMEO):
            socket.setsockopt(option, self.timeout_ms)
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(self.endpoint)
        return socket

    def ask_for_model(self) -> bool:
        """Ask whether the model is there; wait long, since one may have to be loaded."""
        answer = self._manage({"model_request": True, "model_name": self.model})
        return bool(answer["model_available"] and answer["model_loaded"])

    def send_model(self, path: Path) -> dict[str, bool]:
        """Send a model, as the plug-in does where the answer was no."""
        return self._manage({"model_data": True, "model_name": path.name}, path.read_bytes())

    def _manage(self, header: dict[str, object], *more: bytes) -> dict[str, bool]:
        self.socket.setsockopt(zmq.RCVTIMEO, MODEL_TIMEOUT_MS)
        answer = self.exchange(json.dumps(header).encode(), *more)
        self.socket.setsockopt(zmq.RCVTIMEO, self.timeout_ms)
        (only,) = answer
        found: dict[str, bool] = json.loads(only)
        return found

    def exchange(self, *parts: bytes) -> list[bytes]:
        """Send any parts and return those of the answer."""
        self.socket.send_multipart(parts)
        return self.socket.recv_multipart()

    def detect(self, tensor: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
        """Return the rows (20, 6) for a tensor, and the milliseconds that they took; none after a timeout."""
        header = {"shape": list(tensor.shape), "dtype": tensor.dtype.name, "model_type": "ssd"}
        begin = time.perf_counter()
        try:
            about, rows = self.exchange(json.dumps(header).encode(), tensor.tobytes())
        except zmq.Again:
            self.restarts += 1
            self.socket.close(0)
            self.socket = self._connected()
            return NOTHING, (time.perf_counter() - begin) * 1000
        took_ms = (time.perf_counter() - begin) * 1000
        self.about = json.loads(about)
        found: NDArray[np.float32] = np.frombuffer(rows, self.about["dtype"]).reshape(self.about["shape"])
        return found, took_ms

    def close(self) -> None:
        """End."""
        self.socket.close(0)
        self.context.term()
