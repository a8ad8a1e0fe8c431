"""The settings of a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from edge_client.adaptation.policy import MAX_IN_FLIGHT
from edge_client.transport.servers import server_list
from edge_client.transport.tls_files import TlsFiles
from splitnet.errors import ConfigError
from splitnet.messages import GroupPlace

MAX_REPEAT_S = 60.0  # then a server that has failed should have been noticed
PATIENCE_S = 0.5  # how long a silent link may hold frames back that the device could look at, without a deadline


@dataclass(frozen=True)
class PipelineSettings:
    """How a run behaves."""

    server: str | Sequence[str] = ""  # host:port, or several, the preferred one first; empty: nothing is ever sent
    device_id: str = "edge-client"  # names this device in the server's log
    camera: str = ""  # names this camera of the device, where there are several
    offset_s: float = 0.0  # how much later than the others a file or folder begins, so that not all encode at once
    deadline_ms: float = 0.0  # from capture to detections, 0 for none
    max_frames: int = 0  # take this many and stop, 0 for all
    max_in_flight: int = MAX_IN_FLIGHT  # frames being encoded or awaiting their answer
    live: bool = True  # pace finite sources like a camera and let the newest frame win; else take every frame
    drain_timeout_s: float = 5.0  # how long to wait at the end for frames in flight
    answer_timeout_s: float = 10.0  # a frame unanswered after this is lost, and the session is reopened
    use_proxy: bool = False  # reach the servers through the proxy that the environment names
    tls: TlsFiles = field(default_factory=TlsFiles)  # what both ends show, if it is not the enrolled identity
    repeat_s: float = 0.0  # how old an answer may be that stands for frames in which nothing has changed; 0: for none
    smooth: bool = False  # give frames that nobody looked at the boxes of the answers before, moved on
    whole_frames: bool = False  # code every frame by itself, not as changes against one that the server has
    further_digests: tuple[str, ...] = ()  # of bundles that every frame is for, too
    in_layers: bool = False  # send frames in layers where the policy wants that and the server takes them
    place: GroupPlace | None = None  # in a group of devices, each of which makes a part of the features
    group_stream: int = 0  # which run of the camera it is, if this device numbers the group's frames

    def __post_init__(self) -> None:
        """Raise ConfigError if a field is out of range."""
        server_list(self.server)
        if not 0 <= self.repeat_s <= MAX_REPEAT_S:
            raise ConfigError(f"answers may be repeated for 0 to {MAX_REPEAT_S:g} seconds, not {self.repeat_s:g}")
        if self.deadline_ms < 0 or self.max_frames < 0:
            raise ConfigError("the deadline and the number of frames cannot be negative")
        if self.max_in_flight < 1:
            raise ConfigError("at least one frame must be allowed in flight")

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers, the preferred one first."""
        return server_list(self.server)

    @property
    def patience_s(self) -> float:
        """How long a frame may wait for its place on the link if the device can do without."""
        return self.deadline_ms / 2000 or PATIENCE_S
