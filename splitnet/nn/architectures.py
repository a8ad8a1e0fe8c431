"""The one place that maps the name of a detector to what is known of its architecture."""

from __future__ import annotations

from collections.abc import Mapping

from splitnet.errors import ConfigError
from splitnet.nn.detector import Architecture
from splitnet.nn.efficientdet.architecture import EfficientDetArchitecture
from splitnet.nn.nanodet.architecture import NanoDetArchitecture
from splitnet.nn.yolox.architecture import YOLOXArchitecture

ARCHITECTURES: tuple[Architecture, ...] = (YOLOXArchitecture(), EfficientDetArchitecture(), NanoDetArchitecture())
INPUT_SIZES: Mapping[str, int] = {name: size for one in ARCHITECTURES for name, size in one.input_sizes.items()}
# Stages are named differently in every architecture, so that a name says where it belongs.
SPLIT_POINTS: tuple[str, ...] = tuple(stage for one in ARCHITECTURES for stage in one.split_points)
CUTS: tuple[str, ...] = tuple(cut for one in ARCHITECTURES for cut in one.cuts)
STRIDES: Mapping[str, int] = {name: stride for one in ARCHITECTURES for name, stride in one.strides.items()}


def architecture_of(name: str) -> Architecture:
    """Return the architecture of a detector; ConfigError if there is no such detector."""
    for one in ARCHITECTURES:
        if name in one.input_sizes:
            return one
    raise ConfigError(f"unknown detector {name!r}; choose one of {', '.join(INPUT_SIZES)}")
