"""What a server has done since its start, in constant memory: the figures behind the metrics."""

from __future__ import annotations

from collections import Counter, defaultdict

from cloud_server.fleet.histogram import Histogram
from splitnet.messages import ServerTiming

# Around the deadlines that people set: 50 to 500 ms.
STAGE_BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0)
SHARE_BOUNDS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.5, 2.0)  # of the deadline
MAX_BUNDLES = 100  # that are counted for themselves
OTHER = "other"


class Tally:
    """Counts of frames, bytes and times, by bundle. Used on the event loop alone."""

    def __init__(self) -> None:
        self.frames: Counter[tuple[str, str]] = Counter()  # by bundle and mode
        self.bytes: Counter[str] = Counter()  # of payloads, by bundle
        self.answers: Counter[str] = Counter()  # by bundle
        self.errors: Counter[tuple[str, str]] = Counter()  # by bundle and reason
        self.sessions: Counter[str] = Counter()  # opened ones, by bundle
        self.refusals: Counter[str] = Counter()  # sessions that were not opened, by reason
        self.statuses = 0
        self.bad_statuses = 0
        self.stages: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(STAGE_BOUNDS_S))
        self.deadline_shares: defaultdict[str, Histogram] = defaultdict(lambda: Histogram(SHARE_BOUNDS))

    def frame(self, bundle: str, mode: str, payload_bytes: int) -> None:
        """Count a frame that has arrived."""
        self.frames[bundle, mode] += 1
        self.bytes[bundle] += payload_bytes

    def answered(self, bundle: str, timing: ServerTiming, deadline_ms: int) -> None:
        """Count an answer, and where its time went. deadline_ms: from the frame's arrival, 0 for none."""
        self.answers[bundle] += 1
        self.stages[bundle, "wait"].add(timing.wait_ms / 1000)
        self.stages[bundle, "decode"].add(timing.decode_ms / 1000)
        self.stages[bundle, "infer"].add(timing.infer_ms / 1000)
        self.stages[bundle, "total"].add(timing.total_ms / 1000)
        if deadline_ms:
            self.deadline_shares[bundle].add(timing.total_ms / deadline_ms)

    def refused(self, bundle: str, reason: str) -> None:
        """Count a frame that was answered by an error."""
        self.errors[bundle, reason] += 1
