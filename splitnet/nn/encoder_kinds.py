"""The kinds of encoder that a bundle may hold, and the decoder that goes with each."""

from __future__ import annotations

from typing import TypeAlias

from splitnet.nn.decoder import Decoder, DecoderSpec
from splitnet.nn.encoder.ensemble import EncoderSpec, PlainEncoder
from splitnet.nn.encoder.front import FrontEncoder, FrontSpec
from splitnet.nn.encoder.projection import BackProjection, ProjectionEncoder, ProjectionSpec
from splitnet.nn.encoder.slimmable import SharedEncoder, SlimmableSpec

AnyEncoderSpec: TypeAlias = EncoderSpec | FrontSpec | ProjectionSpec | SlimmableSpec
AnyEncoder: TypeAlias = PlainEncoder | FrontEncoder | ProjectionEncoder | SharedEncoder
AnyDecoder: TypeAlias = Decoder | BackProjection


def kind_of(spec: AnyEncoderSpec) -> str:
    """Return what a kind of encoder is called; an ensemble, the first kind, does not name itself."""
    return "ensemble" if isinstance(spec, EncoderSpec) else spec.kind


def make_encoder(spec: AnyEncoderSpec, detector: str, split_point: str) -> AnyEncoder:
    """Return the full-width encoder of a spec, its weights not set."""
    if isinstance(spec, ProjectionSpec):
        return ProjectionEncoder(spec, detector, split_point)
    if isinstance(spec, FrontSpec):
        return FrontEncoder(spec, detector, split_point)
    if isinstance(spec, SlimmableSpec):
        return SharedEncoder(spec)
    return PlainEncoder(spec, spec.members)


def make_decoder(spec: DecoderSpec | None, encoder: AnyEncoderSpec, detector: str, split_point: str) -> AnyDecoder:
    """Return the decoder that goes with an encoder, its weights not set; a projection's follows from the projection."""
    if isinstance(encoder, ProjectionSpec):
        return BackProjection(encoder.patches(detector, split_point))
    assert spec is not None  # the manifest has checked
    return Decoder(spec, encoder.latent_channels, detector, split_point, linear=isinstance(encoder, FrontSpec))
