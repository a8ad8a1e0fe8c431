"""Fixtures that many tests share."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from splitnet.bundle import DeviceBundle, ServerBundle, load_device, load_server
from tests.support.labelled_images import write_labelled
from tests.support.listening_service import Daemon, listening
from tests.support.surroundings import known_surroundings
from tests.support.tiny_bundle import write_tiny_bundle
from tests.support.tiny_group import write_tiny_group
from training.evaluation.average_precision import LabelledSet

PROJECT = Path(__file__).resolve().parent.parent
SHARED_DATA = PROJECT.parent / "shared" / "data"


# An example takes as long as the machine makes it take.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Let no test depend on who starts it, where and how."""
    stack = ExitStack()
    home = stack.enter_context(TemporaryDirectory(prefix="slimsplit-tests-"))
    stack.enter_context(known_surroundings(Path(home)))
    config.add_cleanup(stack.close)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


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


@pytest.fixture(scope="session")
def tiny_group(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """Return the folder of a group's bundle of three parts, with random weights."""
    folder = tmp_path_factory.mktemp("tiny_group")
    write_tiny_group(folder, tiny_bundle)
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
