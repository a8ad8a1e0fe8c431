"""A bundle that replicas compute: decoded here, computed there, and computed here while they are away."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import weakref
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from cloud_server.cluster.link import ClusterLink
from cloud_server.cluster.messages import Deploy
from cloud_server.compute.bundle_model import BundleModel
from cloud_server.compute.decoded_frame import DecodedFrame
from splitnet.bundle import MAX_WEIGHTS_BYTES
from splitnet.codec.references import ReferenceStore
from splitnet.detections import Detections
from splitnet.errors import BundleError, ClusterError, ClusterTimeoutError, ShedError
from splitnet.manifest import FILE_NAME, Manifest
from splitnet.messages import BundleDescription, Frame
from splitnet.operating_point import Mode
from splitnet.regular_file import read_regular

DEPLOY_S = 60.0  # until replicas must be there, before the daemon goes on without them
KEY_CHARS = 12
REPLICA_MEMORY = 400_000_000  # bytes, of libraries and buffers beside the weights

logger = logging.getLogger(__name__)


class ClusterModel:
    """Computes batches on replicas. `infer` may be called on several threads."""

    each_size_differs = False  # replicas have warmed up when they are there

    def __init__(self, own: BundleModel, folder: Path, link: ClusterLink, falls_back: bool) -> None:
        """Take the bundle as this daemon computes it, its folder, the cluster, and whether to do without that.

        BundleError if the folder has changed since the bundle was loaded.
        """
        self._own = own
        self._link = link
        self._falls_back = falls_back
        self._computing_here = threading.Lock()
        self._blanks: dict[Mode, DecodedFrame] = {}
        tuning = asdict(own.tuning)
        way = hashlib.sha256(json.dumps(tuning, sort_keys=True).encode()).hexdigest()[:4]
        self.key = f"{own.name}-{own.digest[:KEY_CHARS]}-{way}"
        memory = own.memory_bytes * 3 + REPLICA_MEMORY
        self._deployment = Deploy(self.key, files_of(folder, own.bundle.manifest), tuning, memory)
        weakref.finalize(self, link.retire, self.key)

    @property
    def digest(self) -> str:
        """The bundle's digest."""
        return self._own.digest

    @property
    def device_digest(self) -> str:
        """The digest that its devices name."""
        return self._own.device_digest

    @property
    def computed_as(self) -> str:
        """What decides how its frames are computed."""
        return self._own.computed_as

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self._own.name

    @property
    def description(self) -> BundleDescription:
        """What a client must know of it."""
        return self._own.description

    @property
    def plan(self) -> str:
        """Nothing: bundles on a cluster share no layers."""
        return ""

    @property
    def modes(self) -> Sequence[Mode]:
        """The modes that the bundle can serve."""
        return self._own.modes

    @property
    def memory_bytes(self) -> int:
        """What the weights take in this process."""
        return self._own.memory_bytes

    def prepare(self) -> None:
        """Make it ready here."""
        self._own.prepare()

    def deploy(self) -> None:
        """Let replicas load it, and wait for them a while; without them the daemon goes on alone if it may."""
        try:
            self._link.deploy(self._deployment, DEPLOY_S)
        except ClusterError as error:
            does = "computing here" if self._falls_back else "refusing frames"
            logger.warning("no replicas yet, %s meanwhile", does, extra={"bundle": self.key, "reason": str(error)})

    def blank(self, mode: Mode) -> DecodedFrame:
        """Return a frame that shows nothing, to warm up with: this daemon computes it; replicas have their own."""
        if mode not in self._blanks:
            self._blanks[mode] = self._own.blank(mode)
        return self._blanks[mode]

    def decode(self, frame: Frame, references: ReferenceStore | None = None) -> DecodedFrame:
        """Undo the entropy or image coding, here. Raises BitstreamError."""
        return self._own.decode(frame, references)

    def infer(self, mode: Mode, batch: Sequence[DecodedFrame]) -> list[Detections]:
        """Return the detections of each frame.

        What fails at once is computed here. What has waited for an answer in vain is not: its frames are late. Raises
        ShedError then, and if there is nobody to compute it.
        """
        if batch[0] is self._blanks.get(mode):
            return self._infer_here(mode, batch)
        try:
            return self._link.compute(self.key, mode, batch)
        except ClusterTimeoutError as error:
            raise ShedError(f"the frame was lost with the replica that had it: {error}") from error
        except ClusterError as error:
            if not self._falls_back:
                raise ShedError(f"nobody can compute the frame: {error}") from error
        return self._infer_here(mode, batch)

    def _infer_here(self, mode: Mode, batch: Sequence[DecodedFrame]) -> list[Detections]:
        with self._computing_here:
            return self._own.infer(mode, batch)


def files_of(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Return the files that a server needs of a bundle, by name. BundleError if one cannot be read.

    Whoever loads them checks that they are the manifest's.
    """
    try:
        return {name: read_regular(folder / name, MAX_WEIGHTS_BYTES) for name in (FILE_NAME, *manifest.files)}
    except OSError as error:
        raise BundleError(f"{folder} cannot be read again, for the cluster: {error}") from error
