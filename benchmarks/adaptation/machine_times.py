"""The times that simulated devices and servers are made of: this machine's, each side by its best back end."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.harness.images import frames_from
from cloud_server.compute.tune import tune
from cloud_server.compute.tuning import TuneConfig, in_words
from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.backends import AUTO
from edge_client.encoding.encoder import load_encoder
from edge_client.encoding.local_detector import load_local
from edge_client.measuring.profiling import Effort, measure, points_to_measure, profile_of
from splitnet.errors import ConfigError, ProfileError
from splitnet.operating_point import OperatingPoint

IMAGES = 10
EFFORT = Effort(frames=30, seconds=20.0)
SERVER_ROUNDS = 5


@dataclass(frozen=True)
class MachineTimes:
    """Median times of one frame in milliseconds, on one thread of the device and undisturbed."""

    profile: DeviceProfile
    encoder: str  # what runs it
    server_ms: float  # of a split frame at full width, alone in its batch
    server: str  # how it is computed
    load: float  # of the machine when this was measured: processes that were running, over a minute

    def to_json(self) -> dict[str, object]:
        """Return the times as JSON values."""
        return {
            "measured_at_load": self.load,
            "device": {"encoder": self.encoder, "local_ms": self.profile.local_ms},
            "encode_ms": dict(self.profile.encode_ms),
            "server": {"computed": self.server, "ms": self.server_ms},
        }


def measured_here(bundle: Path, images: Path, points: Sequence[OperatingPoint]) -> MachineTimes:
    """Measure a bundle's two halves. points: those of the device beside the ones that its profile has anyway.

    The machine should have nothing else to do. Raises ConfigError for a point that the bundle does not have, and
    BundleError if it is damaged.
    """
    load = round(os.getloadavg()[0], 1)
    encoder = load_encoder(bundle, "cpu", 1, AUTO)
    manifest = encoder.manifest
    local = load_local(bundle, manifest, "cpu", backend=AUTO)
    wanted = points_to_measure(manifest, manifest.qualities // 2, local is not None)
    wanted += [point for point in points if point not in wanted]
    found = measure(encoder, local, frames_from(images, IMAGES), wanted, EFFORT)
    profile = profile_of(manifest, "this machine", found, local)
    return MachineTimes(profile, encoder.backend, *_server_time(bundle), load)


def times_of(result: Path) -> MachineTimes:
    """Return the times that an earlier run has measured, from its JSON. Raises ConfigError if it has none."""
    try:
        values = json.loads(result.read_text(encoding="utf-8"))
        local_ms = values["device"]["local_ms"]
        profile = DeviceProfile("that machine", "", values["encode_ms"], local_ms)
        server = float(values["server"]["ms"]), str(values["server"]["computed"])
        return MachineTimes(profile, str(values["device"]["encoder"]), *server, float(values["measured_at_load"]))
    except (OSError, ValueError, KeyError, TypeError, ProfileError) as error:
        raise ConfigError(f"{result} is no result of `adapt` with times ({error!r})") from error


def _server_time(bundle: Path) -> tuple[float, str]:
    """Return the milliseconds of the way of computing that `cloud-server tune` chooses here, and its name."""
    tuning, facts = tune(TuneConfig(bundle, device="cpu", batch_size=1, rounds=SERVER_ROUNDS))
    chosen = next(row for row in facts["measured"] if asdict(tuning).items() <= row.items())
    return round(chosen["ms_per_frame"], 2), in_words(tuning)
