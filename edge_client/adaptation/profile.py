"""The times of one device: its side of the table that a policy chooses from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from splitnet.errors import ProfileError

FORMAT_VERSION = 1


@dataclass(frozen=True)
class DeviceProfile:
    """Nominal times in milliseconds, of one frame, on an otherwise idle device. See `profiling`."""

    device: str  # see `profile_cache.device_fingerprint`
    bundle_digest: str  # SHA-256, hexadecimal
    encode_ms: Mapping[str, float]  # median from frame to payload by operating point as text: "w4 q2", "jpeg 30"
    local_ms: float | None = None  # median of the whole detector on the device; None: it has no such weights
    local_ms_p90: float | None = None
    local_backend: str | None = None  # that ran it: "torch" or "onnxruntime"; None: not said
    local_digest: str | None = None  # SHA-256 of its weights; None: they are a part of the bundle's digest

    def __post_init__(self) -> None:
        """Raise ProfileError on times that no device has."""
        local = [time for time in (self.local_ms, self.local_ms_p90) if time is not None]
        for time in (*self.encode_ms.values(), *local):
            if not (math.isfinite(time) and time > 0):
                raise ProfileError(f"a profile holds a time of {time} ms: measure again with edge-client profile")

    def check(self, device: str, bundle_digest: str) -> None:
        """Raise ProfileError if it was measured on another device or for another bundle."""
        if self.device != device:
            raise ProfileError(f"the profile was measured on {self.device}, this is {device}: measure this device")
        if self.bundle_digest != bundle_digest:
            raise ProfileError(
                f"the profile is of bundle {self.bundle_digest[:12]}, this is {bundle_digest[:12]}: measure this bundle"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain JSON values."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, values: Any) -> DeviceProfile:
        """Return the profile in JSON values. Raises ProfileError if they are none."""
        try:
            if values["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {values['format_version']}")
            return cls(
                device=str(values["device"]),
                bundle_digest=str(values["bundle_digest"]),
                encode_ms={str(point): float(time) for point, time in values["encode_ms"].items()},
                local_ms=_time(values["local_ms"]),
                local_ms_p90=_time(values["local_ms_p90"]),
                local_backend=_text(values.get("local_backend")),
                local_digest=_text(values.get("local_digest")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise ProfileError(f"this is not a profile ({error!r}): measure again with edge-client profile") from error


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _time(value: Any) -> float | None:
    return None if value is None else float(value)
