"""A group's model without a network: it says which parts it had by the number of the objects that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cloud_server.groups.group_frame import GroupFrame, PartsTaken
from splitnet.codec.references import ReferenceStore
from splitnet.detections import Detections
from splitnet.errors import BitstreamError
from splitnet.messages import BundleDescription, Frame
from splitnet.operating_point import Codec, Mode
from tests.support.fake_model import BAD, FakeModel, one_object

GROUP_DIGEST, OTHER_GROUP_DIGEST = "0f" * 32, "1e" * 32
PARTS = 3


@dataclass(frozen=True)
class FakeDecoded:
    """The payloads of the parts, by their numbers."""

    payloads: dict[int, bytes]
    taken: PartsTaken


class FakeGroupModel(FakeModel):
    """Finds one object, whose label is the sum of the payloads' lengths."""

    modes = (Mode.SPLIT,)
    name = "group-3"
    description: BundleDescription = replace(FakeModel.description, codecs=(Codec.RANS,), parts=PARTS)

    def __init__(self, digest: str = GROUP_DIGEST) -> None:
        super().__init__(digest)
        self.group_batches: list[list[dict[int, bytes]]] = []

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> FakeDecoded:  # type: ignore[override]
        if not isinstance(frame, GroupFrame):
            raise BitstreamError("no frame of a group")
        payloads = {number: part.payload for number, part in frame.parts.items() if part.payload != BAD}
        if not payloads:
            raise BitstreamError("no part is left")
        refused = {number: "these bytes are not a bitstream" for number in frame.parts if number not in payloads}
        return FakeDecoded(payloads, PartsTaken(tuple(payloads), refused))

    def infer(self, kind: Mode, batch: Sequence[FakeDecoded]) -> list[Detections]:  # type: ignore[override]
        self.entered.set()
        assert self.gate.wait(timeout=10)
        self.group_batches.append([one.payloads for one in batch])
        return [one_object(sum(map(len, one.payloads.values()))) for one in batch]
