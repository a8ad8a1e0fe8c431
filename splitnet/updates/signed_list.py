"""What both ends read of TUF's metadata: artefacts in the list of targets, and when the list was last vouched for.

The Update Framework (theupdateframework.github.io/specification), by the package `tuf`. Its four roles: *root* names
the keys, *targets* the artefacts, *snapshot* and *timestamp* which list is the newest, and until when that holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from tuf.api.metadata import Metadata, TargetFile, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from splitnet.errors import UntrustedError
from splitnet.updates.artefact import Artefact, artefact_from_json

TIMESTAMP_FILE = "timestamp.json"
FIRST_ROOT = "1.root.json"
SIGNED_AT = "x-slimsplit-signed-at"  # of the timestamp role: seconds since 1970, for devices without a clock
ARTEFACT = "artefact"  # in a target's custom field
FINGERPRINT_CHARS = 32


def fingerprint(first_root: bytes) -> str:
    """Return what people compare or copy to trust the keys of a fleet: 128 bits of the SHA-256 of its first root."""
    return hashlib.sha256(first_root).hexdigest()[:FINGERPRINT_CHARS]


def artefacts_in(targets: bytes) -> list[Artefact]:
    """Return the artefacts of a verified list of targets, the newest first.

    One that this software does not understand is for newer ones, and left out. UntrustedError if it is no list.
    """
    signed = _signed(targets)
    if not isinstance(signed, Targets):
        raise UntrustedError("the signed list is none of targets")
    found = []
    for target in signed.targets.values():
        artefact = _artefact(target)
        if artefact is not None:
            found.append(artefact)
    return sorted(found, key=lambda one: (-one.version, one.target))


def target_of(artefact: Artefact) -> TargetFile:
    """Return the entry of an artefact. TUF's own length and hash are those of its first file."""
    first = artefact.files[0]
    hashes = {"sha256": first.stored_sha256}
    return TargetFile(
        first.stored_bytes, hashes, artefact.target, unrecognized_fields={"custom": {ARTEFACT: artefact.to_json()}}
    )


def signed_at(timestamp: bytes) -> float:
    """Return when a verified timestamp was signed, seconds since 1970; 0 if it does not say."""
    signed = _signed(timestamp)
    value = signed.unrecognized_fields.get(SIGNED_AT) if isinstance(signed, Timestamp) else None
    return float(value) if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 40 else 0.0


def newest(artefacts: Iterable[Artefact]) -> int:
    """Return the highest version; 0 if there is none."""
    return max((one.version for one in artefacts), default=0)


def _signed(data: bytes) -> object:
    try:
        return Metadata.from_bytes(data).signed
    except DeserializationError as error:
        raise UntrustedError("the signed list is damaged") from error


def _artefact(target: TargetFile) -> Artefact | None:
    custom = target.custom
    values = custom.get(ARTEFACT) if isinstance(custom, dict) else None
    try:
        artefact = artefact_from_json(values)
    except Exception:
        return None
    return artefact if artefact.target == target.path else None
