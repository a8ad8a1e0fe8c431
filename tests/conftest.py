"""What many tests share."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from splitnet.onnx_runtime import TELEMETRY_SWITCH
from tests.support.labelled_images import write_labelled
from tests.support.listening_service import Daemon, listening
from tests.support.tiny_bundle import write_tiny_bundle
from training.evaluation.average_precision import LabelledSet

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"

os.environ[TELEMETRY_SWITCH] = "1"  # some tests import ONNX Runtime themselves


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests out of the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Remove the handlers that a command under test installs: they write to that test's stderr."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in root.handlers[:]:
        if handler not in before and type(handler) is logging.StreamHandler:
            root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
async def daemon() -> AsyncIterator[Daemon]:
    """Return a service that listens, with a model without a network."""
    async with listening() as one:
        yield one


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bundle of random weights. Do not change it: it is made once."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    write_tiny_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def device(tiny_bundle: Path) -> DeviceBundle:
    """Return the device's half of that bundle."""
    return load_device(tiny_bundle)


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> ServerBundle:
    """Return the server's half of that bundle."""
    return load_server(tiny_bundle)


@pytest.fixture(scope="module")
def labelled(device: DeviceBundle, tmp_path_factory: pytest.TempPathFactory) -> LabelledSet:
    """Return drawn pictures with boxes of that bundle's classes."""
    annotations = write_labelled(tmp_path_factory.mktemp("labelled"), device.manifest.class_names)
    return LabelledSet(annotations.parent, annotations, device.manifest.class_names)


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    """Return a real photograph, BGR uint8 (480, 640, 3)."""
    from skimage import data

    astronaut = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    return np.ascontiguousarray(cv2.resize(astronaut, (640, 640))[:480])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of evaluation data, or skip."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the evaluation data (../shared/data) is not here")
    return SHARED_DATA


@pytest.fixture
def keep_threads() -> Iterator[None]:
    """Give PyTorch back the number of threads that it had: commands set their own."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
