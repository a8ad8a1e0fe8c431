"""Memory of many bundles of one ancestor: parameter bytes, tensors that are held, and what the process takes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from splitnet.atomic_write import write_atomically
from splitnet.bundle import entry_of
from splitnet.manifest import DETECTOR_FILE, SERVER_FILE, load_manifest

CAMERAS = 20
# What is a camera's own: the whole head. Drawn, not trained: memory does not ask what the numbers are.
OWN_LAYERS = ("head.",)
STEP = 0.02  # of a layer's size: how far a camera's layers are from their ancestor's

PROGRAM = """
import json, sys
from pathlib import Path
import psutil, torch
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.tensor_store import TensorStore, held_bytes, tensors_of
from cloud_server.compute.tuning import UNMEASURED
from splitnet import device_package
from splitnet.bundle import load_server
torch.set_num_threads(1)
shares, folders = sys.argv[1] == "shared", sys.argv[2:]
def load(folder, store):
    if not shares:
        device_package._MODELS.clear()
        device_package._CHANGE_MODELS.clear()
    model = BundleModel(load_server(Path(folder)), torch.device("cpu"), UNMEASURED, store=store)
    model.prepare()
    for mode in model.modes:
        model.infer(mode, [model.blank(mode)])
    return model
store = TensorStore()
kept = [load(folders[0], store)]
before = psutil.Process().memory_info().rss
kept += [load(folder, store if shares else TensorStore()) for folder in folders[1:]]
after = psutil.Process().memory_info().rss
modules = [m for model in kept for m in (model.bundle.half, model.bundle.detector) if m is not None]
print(json.dumps({
    "parameter_bytes": sum(model.memory_bytes for model in kept),
    "held_bytes": held_bytes(tensors_of(modules)),
    "first_bytes": kept[0].memory_bytes,
    "resident_growth_bytes": after - before,
}))
"""


def memory_rows(bundles: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what twenty camera-specific bundles of each of the first bundles take, alone and sharing."""
    with tempfile.TemporaryDirectory() as scratch:
        return [_row(bundle, Path(scratch)) for bundle in bundles[1:2]] + [_given(bundles[:2])]


def _row(bundle: Path, scratch: Path) -> dict[str, Any]:
    folders = [camera_bundle(bundle, scratch / f"{bundle.name}-{i}", i) for i in range(CAMERAS)]
    return _compared(f"{CAMERAS} camera-specific bundles of {bundle.name}", folders)


def _given(bundles: Sequence[Path]) -> dict[str, Any]:
    return _compared(" and ".join(bundle.name for bundle in bundles), bundles)


def _compared(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    alone, shared = (measured(way, folders) for way in ("alone", "shared"))
    return {
        "bundles": name,
        "parameter_bytes": alone["parameter_bytes"],
        "held_bytes_alone": alone["held_bytes"],
        "held_bytes_shared": shared["held_bytes"],
        "share_held": round(shared["held_bytes"] / alone["held_bytes"], 4),
        "resident_growth_bytes_alone": alone["resident_growth_bytes"],
        "resident_growth_bytes_shared": shared["resident_growth_bytes"],
    }


def measured(way: str, folders: Sequence[Path]) -> dict[str, int]:
    """Load bundles in a process of their own, "alone" or "shared", run each once, and return what they take."""
    command = [sys.executable, "-c", PROGRAM, way, *map(str, folders)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(ran.stdout.splitlines()[-1])
    return found


def camera_bundle(ancestor: Path, folder: Path, camera: int) -> Path:
    """Write a bundle whose last layers are a camera's own, and all else its ancestor's; returns its folder."""
    shutil.copytree(ancestor, folder)
    manifest, draw = load_manifest(folder), torch.Generator().manual_seed(camera)
    entries = dict(manifest.files)
    for file in (SERVER_FILE, DETECTOR_FILE):
        tensors = load_tensors((folder / file).read_bytes())
        for name, tensor in tensors.items():
            if any(layer in name for layer in OWN_LAYERS):
                noise = torch.randn(tensor.shape, generator=draw) * tensor.float().abs().mean() * STEP
                tensors[name] = (tensor.float() + noise).to(tensor.dtype)
        data = save_tensors(tensors)
        write_atomically(folder / file, data)
        entries[file] = entry_of(data)
    replace(manifest, name=f"{manifest.name}-{camera}", files=entries).write(folder)
    return folder
