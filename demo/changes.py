"""The demo's third part: a short clip, every frame coded by itself, and as changes against the one before."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness.images import Image, filling, sample_images
from benchmarks.harness.processes import ServerProcess
from demo.client import run_client
from demo.stills import FRAME_SIZE
from splitnet.manifest import Manifest

FRAMES = 24
NOISE = 2.0  # standard deviation of the sensor's noise, of 255
MOVING_SIDE = 120  # pixels of what moves through the scene
WAYS = {"each frame by itself": ("--whole-frames",), "as changes": ()}


def write_clip(folder: Path) -> None:
    """Write the numbered frames of a camera that rests: one thing moves, and the sensor is noisy."""
    scene, moving = (filling(image, size) for image, size in zip(_photographs(), _SIZES, strict=True))
    draw = np.random.default_rng(0)
    for number in range(FRAMES):
        frame = scene.copy()
        left = number * (FRAME_SIZE[0] - MOVING_SIDE) // FRAMES
        frame[-MOVING_SIDE:, left : left + MOVING_SIDE] = moving
        noisy = np.clip(frame + draw.normal(0, NOISE, frame.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number:03}.png"), noisy)


_SIZES = (FRAME_SIZE, (MOVING_SIDE, MOVING_SIDE))


def _photographs() -> tuple[Image, Image]:
    images = sample_images()
    return images["coffee"], images["cat"]


def compare(server: ServerProcess, bundle: Path, manifest: Manifest, out: Path) -> list[dict[str, Any]] | None:
    """Send the clip both ways; returns a row for each, None after Ctrl+C."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="slimsplit-demo-") as folder:
        write_clip(Path(folder))
        for way, options in WAYS.items():
            found = out / f"changes-{'alone' if options else 'against'}.jsonl"
            quality = str(manifest.qualities // 2)
            command = [
                *("edge_client", "run", "--server", server.address, "--source", folder),
                *("--bundle", str(bundle.resolve()), "--as-fast-as-possible", "--quality", quality),
                *("--device-id", "demo", "--out", str(found), *options),
            ]
            if not run_client(command, server):
                return None
            rows.append({"coded": way, **_row(found)})
    return rows


def _row(found: Path) -> dict[str, Any]:
    sizes = [json.loads(line)["bytes"] for line in found.read_text(encoding="utf-8").splitlines()]
    return {"frames": len(sizes), "first KB": _kb(sizes[:1]), "KB of the others": _kb(sizes[1:])}


def _kb(sizes: list[int]) -> float:
    return round(sum(sizes) / max(1, len(sizes)) / 1000, 3)
