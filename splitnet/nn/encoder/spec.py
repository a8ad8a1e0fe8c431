"""The interface of every kind of encoder: its shape as a manifest states it, and the networks that follow from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, TypeVar

from torch import nn

from splitnet.errors import ConfigError
from splitnet.json_values import integer, integers
from splitnet.nn.decoder import Decoder, DecoderSpec

S = TypeVar("S", bound="EncoderSpec")


class Encoder(nn.Module, ABC):
    """All widths of an encoder, with their weights."""

    spec: EncoderSpec

    @abstractmethod
    def narrow(self, width: int) -> nn.Module:
        """Return the network of a width; ConfigError if there is no such one.

        It maps BGR images (N, 3, H, W) float32 0..255 to the latent (N, L, H/16, W/16).
        """


class EncoderSpec(ABC):
    """Shape of an encoder. Each kind is a frozen dataclass; `encoder_kinds` has the table of them."""

    kind: ClassVar[str]
    has_linear_path: ClassVar[bool] = False  # whether decoders have one too, beside each branch

    @property
    @abstractmethod
    def widths(self) -> int:
        """Number of widths: 1 .. widths are valid."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the latent."""

    @property
    def stretches(self) -> bool:
        """Whether frames fill their canvas; else they are letterboxed."""
        return False

    def canvas_sides(self, input_size: int) -> tuple[int, ...]:
        """Return the pixels a side of the square that frames are fitted into, for each width."""
        return (input_size,) * self.widths

    def check(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> None:
        """Raise ConfigError if decoder, detector or split point are not such as this kind of encoder takes."""
        if decoder is None:
            raise ConfigError(f"an encoder of the kind {self.kind} needs the shape of a decoder")

    @abstractmethod
    def make(self, detector: str, split_point: str) -> Encoder:
        """Return the encoder, its weights not set."""

    def make_decoder(self, decoder: DecoderSpec | None, detector: str, split_point: str) -> nn.Module:
        """Return what maps a dequantised latent (N, L, H, W) to features by name, its weights not set."""
        assert decoder is not None  # as `check` has it
        return Decoder(decoder, self.latent_channels, detector, split_point, self.has_linear_path)

    @classmethod
    def from_json(cls: type[S], values: Mapping[str, Any]) -> S:
        """Return the spec that a manifest states. KeyError, TypeError or ConfigError on what is none of this kind."""
        return cls(**{one.name: _sizes(values[one.name]) for one in fields(cls)})  # type: ignore[arg-type]

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON values, by which `encoder_kinds.encoder_from_json` finds its kind again."""
        sizes = asdict(self)  # type: ignore[call-overload]  # every kind is a dataclass
        return {**sizes, "kind": self.kind}


def _sizes(value: Any) -> int | bool | tuple[int, ...] | dict[str, int]:
    """Return what JSON states of a field: a whole number, some, some by name, or whether something is so."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return integers(value)
    return tuple(integer(one) for one in value) if isinstance(value, list) else integer(value)


def check_width(width: int, widths: int) -> None:
    """Raise ConfigError if there is no such width."""
    if not 1 <= width <= widths:
        raise ConfigError(f"width {width} is not in 1..{widths}")
