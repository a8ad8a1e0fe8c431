"""The table of all kinds of encoder that a bundle may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from splitnet.errors import BundleError
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.encoder.front_ensemble import FrontEnsembleSpec
from splitnet.nn.encoder.projection import ProjectionSpec
from splitnet.nn.encoder.sliced_front import SlicedFrontSpec
from splitnet.nn.encoder.slimmable import SlimmableSpec
from splitnet.nn.encoder.spec import EncoderSpec

KINDS: Mapping[str, type[EncoderSpec]] = {
    one.kind: one
    for one in (EnsembleSpec, FrontSpec, SlicedFrontSpec, FrontEnsembleSpec, SlimmableSpec, ProjectionSpec)
}


def encoder_from_json(values: Mapping[str, Any]) -> EncoderSpec:
    """Return the spec that a manifest states. BundleError on an unknown kind; else raises what `from_json` does."""
    stated = values.get("kind", EnsembleSpec.kind)
    kind = KINDS.get(str(stated))
    if kind is None:
        raise BundleError(f"not a usable bundle: unknown encoder kind {stated!r}: update this software")
    return kind.from_json(values)
