"""Targets of fuzzing: updates, which are signed, but whose signer may have been deceived."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

import numpy as np

from splitnet.errors import UpdateError
from splitnet.updates.artefact import artefact_from_json
from splitnet.updates.update_file import patched, read_update, sealed, write_update
from splitnet.updates.weights.weight_format import unpack
from splitnet.updates.weights.weight_update import layouts_of, names_after, updated
from tests.support.golden_update import golden_base

Target = Callable[[bytes], None]

OLD_FILE = bytes(range(256)) * 4  # that patches are for
MOST_BYTES = 10_000  # that a patch may give
FILES_FROM = 12  # where the content of an update file begins, behind what seals it


def update_targets() -> Mapping[str, Target]:
    """Return every target by name."""
    return {"artefact": artefact, "patch": patch, "update-file": update_file, "weight-update": weight_update}


def artefact(data: bytes) -> None:
    """Read the description of an artefact; what is accepted stays what it is."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UpdateError("no JSON") from error
    found = artefact_from_json(values)
    assert artefact_from_json(json.loads(json.dumps(found.to_json()))) == found


def patch(data: bytes) -> None:
    """Make a file of another one and a patch, within its bound."""
    assert len(patched(OLD_FILE, data, MOST_BYTES)) <= MOST_BYTES


def update_file(data: bytes) -> None:
    """Read an update file behind its seal, which would stop a fuzzer; what is accepted is written again and read."""
    found = read_update(sealed(data))
    again = read_update(write_update(found))
    assert (again.files, again.parts, again.base) == (found.files, found.parts, found.base)


def weight_update(data: bytes) -> None:
    """Apply an update to the golden weights, but for the checksums, which would stop a fuzzer."""
    base = golden_base()
    layouts = layouts_of(base)
    update = unpack(data, layouts)
    for name in names_after(update, layouts):
        assert np.isfinite(updated(update, name, base.get(name))).all()
