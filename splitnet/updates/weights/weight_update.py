"""New weights from old ones and an update, exactly; and an update from what training has found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import UpdateError
from splitnet.updates.weights.families import changed, step_of
from splitnet.updates.weights.weight_format import CHECK_BYTES, DTYPES, Layout, WeightUpdate, pack, unpack

Weights = Mapping[str, NDArray[Any]]
_BLOCK = 1 << 20


def apply_weights(data: bytes, base: Weights) -> dict[str, NDArray[Any]]:
    """Return the weights that an update makes of others, the same bits on every machine.

    What is neither float16 nor float32 stays as it is. Raises UpdateError if the update is for other weights, damaged,
    or does not give what it says.
    """
    layouts = layouts_of(base)
    update = unpack(data, layouts)
    check_before(update, checksum((name, base[name]) for name in sorted(layouts)))
    found = {name: updated(update, name, base.get(name)) for name in names_after(update, layouts)}
    check_after(update, checksum(found.items()))
    return {**{name: array for name, array in base.items() if name not in layouts}, **found}


def pack_weights(update: WeightUpdate, base: Weights) -> bytes:
    """Return an update as bytes that name the weights of before and after. UpdateError if it cannot be applied."""
    layouts = layouts_of(base)
    before = checksum((name, base[name]) for name in sorted(layouts))
    after = checksum((name, updated(update, name, base.get(name))) for name in names_after(update, layouts))
    return pack(replace(update, before=before, after=after), layouts)


def updated(update: WeightUpdate, name: str, base: NDArray[Any] | None) -> NDArray[Any]:
    """Return one tensor after an update. base: before; None for a new one. Raises UpdateError if it is not finite."""
    whole = update.whole.get(name)
    if whole is not None:
        values = (whole.symbols.astype(np.float64) * step_of(whole.step_code)).reshape(whole.layout.shape)
        return _finite(values, whole.layout.dtype, name)
    assert base is not None
    if name not in update.changes:
        return base
    values = changed(base.astype(np.float64), update.changes[name], seed_of(update.seed, name))
    return _finite(values, base.dtype, name)


def seed_of(seed: int, name: str) -> int:
    """Return a tensor's own seed of random signs."""
    return seed << 32 | int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def layouts_of(weights: Weights) -> dict[str, Layout]:
    """Return types and shapes of the tensors that an update can change."""
    return {name: Layout(one.dtype, one.shape) for name, one in weights.items() if one.dtype in DTYPES}


def names_after(update: WeightUpdate, base: Mapping[str, Layout]) -> list[str]:
    """Return the names of all tensors after an update, sorted."""
    return sorted((set(base) - set(update.dropped)) | set(update.whole))


def checksum(tensors: Any) -> bytes:
    """Return CHECK_BYTES of the SHA-256 of named tensors, in the order in which they come."""
    sha = hashlib.sha256()
    for name, array in tensors:
        sha.update(f"{name} {array.dtype.name} {array.shape}\n".encode())
        flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1)
        sha.update(flat.view(np.uint8).data)
    return sha.digest()[:CHECK_BYTES]


def check_before(update: WeightUpdate, found: bytes) -> None:
    """Raise UpdateError unless these are the weights that an update is for."""
    if update.before != found:
        raise UpdateError("the update is for other weights than these: fetch the model whole")


def check_after(update: WeightUpdate, found: bytes) -> None:
    """Raise UpdateError unless an update has given what it says."""
    if update.after != found:
        raise UpdateError("the update does not give the weights that it says: make it again")


def _finite(values: NDArray[np.float64], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        found = values.astype(dtype)
    if not np.isfinite(found).all():
        raise UpdateError(f"the update makes {name} infinite: make it again with smaller steps")
    return found
