"""A group's bundle as the engine's model: the parts of a frame in, detections in pixels of the frame out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from cloud_server.compute.tensor_store import held_bytes, tensors_of
from cloud_server.groups.group_frame import GroupFrame, PartsTaken
from splitnet.codec.references import ReferenceStore
from splitnet.detections import SCORE_THRESHOLD, Detections
from splitnet.errors import BitstreamError
from splitnet.letterbox import LATENT_STRIDE, Letterbox
from splitnet.messages import BundleDescription, Frame
from splitnet.operating_point import Codec, Mode, OperatingPoint

if TYPE_CHECKING:
    from splitnet.groups.group_bundle import GroupServer


@dataclass(frozen=True)
class PartSymbols:
    """A part's symbols (C, h, w), and the quality that they were made at."""

    symbols: NDArray[np.int16]
    quality: int


@dataclass(frozen=True)
class DecodedGroupFrame:
    """What the parts of a frame held, and where the image lies in what the network sees."""

    parts: Mapping[int, PartSymbols]
    letterbox: Letterbox
    taken: PartsTaken


class GroupModel:
    """Runs a group's bundle. `decode` may be called on any thread, the rest on the engine's only."""

    plan = ""
    each_size_differs = False
    modes: Sequence[Mode] = (Mode.SPLIT,)

    def __init__(self, server: GroupServer, device: torch.device, threads: int = 0) -> None:
        """Take the server half of a group's bundle, the device to run on, and its CPU threads; 0: torch's choice."""
        self._server = server
        self._device, self._threads = device, threads
        self._manifest = server.manifest
        self._parts = [server.manifest.of_part(number) for number in range(1, server.manifest.parts + 1)]
        self.digest = self.device_digest = self.computed_as = server.manifest.digest
        self.name = server.manifest.name

    @property
    def description(self) -> BundleDescription:
        """What a client must know of it."""
        manifest = self._manifest
        return BundleDescription(
            input_size=manifest.input_size,
            stride=LATENT_STRIDE,
            class_names=manifest.class_names,
            widths=1,
            qualities=manifest.qualities,
            score_threshold=SCORE_THRESHOLD,
            codecs=(Codec.RANS, Codec.ZSTD),
            parts=manifest.parts,
        )

    @property
    def memory_bytes(self) -> int:
        """What the weights take in memory."""
        return held_bytes(tensors_of([self._server.half]))

    def prepare(self) -> None:
        """Compile the codec, and move the network to the device."""
        if self._threads:
            torch.set_num_threads(self._threads)
        for codec in self._server.codecs:
            codec.warm_up()
        self._server.half.to(self._device)

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> DecodedGroupFrame:
        """Undo the entropy coding of every part. A damaged one counts as missing; BitstreamError if none is left."""
        if not isinstance(frame, GroupFrame):
            raise BitstreamError(f"bundle {self.name} is for a group of devices, which send features in parts")
        letterbox = self._manifest.fit(frame.frame_width, frame.frame_height)
        parts: dict[int, PartSymbols] = {}
        refused: dict[int, str] = {}
        for number, part in frame.parts.items():
            try:
                parts[number] = self._part(number, part, letterbox)
            except BitstreamError as error:
                refused[number] = f"part {number} of frame {part.frame_id}: {error}"
        if not parts:
            raise BitstreamError("; ".join(refused.values()))
        return DecodedGroupFrame(parts, letterbox, PartsTaken(tuple(parts), refused))

    def _part(self, number: int, frame: Frame, letterbox: Letterbox) -> PartSymbols:
        latent = self._server.codecs[number - 1].decode(frame.payload)
        point, sent = frame.operating_point, OperatingPoint(latent.codec, latent.width, latent.quality)
        if sent != point:
            raise BitstreamError(f"the frame says {point}, its bitstream {sent}: send what you encoded")
        expected = self._parts[number - 1].shape(letterbox)
        if latent.symbols.shape != expected:
            raise BitstreamError(
                f"the payload has shape {latent.symbols.shape}, but a frame of {frame.frame_width}x"
                f"{frame.frame_height} pixels gives {expected} in this part: check the frame's size"
            )
        return PartSymbols(latent.symbols, latent.quality)

    @torch.inference_mode()
    def infer(self, mode: Mode, batch: Sequence[DecodedGroupFrame]) -> list[Detections]:
        """Return the detections of each frame; what is missing of one is filled in."""
        found = self._server.half.answers([frame.parts for frame in batch])
        return [
            Detections(frame.letterbox.boxes_to_frame(one.boxes), one.scores, one.labels)
            for one, frame in zip(found, batch, strict=True)
        ]

    def blank(self, mode: Mode) -> DecodedGroupFrame:
        """Return a frame that shows nothing."""
        side = self._manifest.input_size
        letterbox = self._manifest.fit(side, side)
        parts = {one.part: PartSymbols(np.zeros(one.shape(letterbox), np.int16), 0) for one in self._parts}
        return DecodedGroupFrame(parts, letterbox, PartsTaken(tuple(parts)))
