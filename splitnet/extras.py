"""Packages that come with an extra: what to install when one is missing, and bars of progress by one of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")

EXTRA_OF = {  # package as it is imported: the extra of setup.cfg that brings it
    "aiohttp": "server",
    "zmq": "frigate",
    "aiomqtt": "outputs",
    "prometheus_client": "server",
    "grpc_health": "server",
    "grpc_reflection": "server",
    "segno": "server",
    "pycocotools": "train",
    "PIL": "train",
    "tqdm": "train",
    "onnx": "train",
    "networkx": "train",
    "onnxruntime": "onnxruntime",
    "matplotlib": "demo",
    "skimage": "demo",
    "tensorboard": "tensorboard",
    "ray": "cluster",
    "bsdiff4": "rivals",
}


def missing_extra(error: ModuleNotFoundError, extra: str = "") -> str:
    """Return in one line which extra brings a package that is missing. Raises the error itself if none of them does.

    extra: the one to name, where several bring it.
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        raise error
    return f'{package} is missing; it comes with an extra: pip install ".[{extra or EXTRA_OF[package]}]"'


def progress(items: Iterable[T], **options: Any) -> tqdm[T]:
    """Return items with a bar of progress on stderr. options: tqdm's."""
    from tqdm import tqdm  # here, so that a program without the extra can say so

    return tqdm(items, **options)


def progress_bar(**options: Any) -> tqdm[NoReturn]:
    """Return a bar of progress on stderr to move by hand. options: tqdm's."""
    from tqdm import tqdm

    return tqdm(**options)
