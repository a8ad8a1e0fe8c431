"""What a pipeline is made of beside its threads: a model, and those who may change it or want its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_client.adaptation.policy import Policy
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalRuntime
from edge_client.frames import CapturedFrame
from edge_client.output.sinks import Recorder

if TYPE_CHECKING:
    from edge_client.pipeline import Pipeline
    from splitnet.errors import SplitError


@dataclass(frozen=True)
class ModelParts:
    """A model that is loaded and warm, and what chooses its operating points."""

    encoder: EncoderRuntime
    policy: Policy
    local: LocalRuntime | None = None


class Updating(Protocol):
    """What may change the model of a pipeline while it runs."""

    @property
    def recorder(self) -> Recorder:
        """What is told of every frame's fate."""

    def forgives(self, error: SplitError) -> bool:
        """Return whether a server that will not take this model may take it yet, or another one."""

    async def run(self, pipeline: Pipeline) -> None:
        """Work until cancelled."""


class HandsOn(Protocol):
    """What gives frames to the other devices of a group."""

    def give(self, frame: CapturedFrame) -> None:
        """Take a frame; returns at once. In the reading thread."""

    def close(self) -> None:
        """End it."""
