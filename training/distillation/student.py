"""Everything that is trained, in one module."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor, nn

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.nn.architectures import architecture_of
from splitnet.nn.decoder import Decoder, DecoderSpec
from splitnet.nn.detector import Detector
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import FrontEncoder, FrontSpec
from splitnet.nn.encoder.spec import EncoderSpec
from training.distillation.depthwise import cheapen
from training.distillation.rate import GainedQuantiser, Quantised, pad_to
from training.distillation.trained_kinds import kind_of
from training.loop.precision import single_precision


@dataclass(frozen=True)
class StudentSpec:
    """What to build."""

    detector: str = "yolox-nano"
    classes: int = 80
    split_point: str = "dark3"
    qualities: int = 6
    encoder: EncoderSpec = field(default_factory=EnsembleSpec)
    decoder: DecoderSpec = field(default_factory=DecoderSpec)
    # Detector and split point of an encoder that devices have already: it stays as it is. None: it is trained, too.
    kept_front: tuple[str, str] | None = None

    @property
    def widths(self) -> int:
        """Number of widths that are trained one by one; those of a front share everything."""
        return kind_of(self.encoder).widths(self.encoder)

    @property
    def stacked(self) -> int:
        """How many matrices of their own lie in one weight of the encoder: an ensemble's members."""
        return kind_of(self.encoder).stacked(self.encoder)

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of it."""
        values = {**asdict(self), "encoder": self.encoder.to_json()}
        if self.kept_front is None:
            del values["kept_front"]  # checkpoints of before know nothing of it
        else:
            values["kept_front"] = list(self.kept_front)
        return values


class Student(nn.Module):
    """Encoder, quantiser, decoder and the rest of the detector ("tail")."""

    def __init__(self, spec: StudentSpec) -> None:
        super().__init__()
        self.spec = spec
        self.kind = kind_of(spec.encoder)
        self.encoder = self.kind.make(spec.encoder, *(spec.kept_front or (spec.detector, spec.split_point)))
        channels, sent = spec.encoder.latent_channels, self.kind.sent(spec.encoder, spec.qualities)
        self.quantiser = GainedQuantiser(spec.widths, spec.qualities, channels, sent)
        starts_split = self.kind.starts_split
        self.decoder = Decoder(spec.decoder, channels, spec.detector, spec.split_point, linear=starts_split)
        self.tail = architecture_of(spec.detector).build(spec.detector, spec.classes, spec.split_point)
        cheapen(self.tail)
        if spec.kept_front is not None:
            self.encoder.requires_grad_(False)
            self.quantiser.requires_grad_(False)

    def forward(
        self, canvas: Tensor, square: int, widths: Tensor, qualities: Tensor, joint: bool
    ) -> tuple[dict[str, Tensor], Quantised]:
        """Run canvases (N, 3, h, w) float32 0..255 through both halves.

        square: side of the padded square in pixels. widths, qualities: (N,) int64. joint: on to the raw
        predictions; otherwise only to the stage after the split point. Returns outputs by name.
        """
        # In eight bits a symbol of 64 might become another one before it is rounded.
        with single_precision(canvas.device):
            latents = self.kind.latents(self.encoder, canvas, widths)
            quantised = self.quantiser(latents, widths, qualities)
        features = self.decoder(pad_to(quantised.y_hat, square // LATENT_STRIDE))
        if joint:
            return self.tail.trace(features), quantised
        return self.tail.next_stage(features), quantised

    def take_tail(self, detector: Detector) -> None:
        """Start the tail from a whole, fused detector. ConfigError if it is another than the spec's."""
        theirs = detector.state_dict()
        try:
            self.tail.load_state_dict({name: theirs[name] for name in self.tail.state_dict()})
        except (KeyError, RuntimeError) as error:
            wanted = f"{self.spec.detector} of {self.spec.classes} classes"
            raise ConfigError(f"the teacher is not a whole, fused {wanted}") from error

    def train_front(self) -> None:
        """Let the detector's own stages on the device learn. ConfigError if the encoder has none."""
        if not self.kind.starts_split:
            raise ConfigError("only an encoder of the kind front begins with the detector's own stages")
        for parameter in self.kind.stages(self.encoder):
            parameter.requires_grad_(True)

    @property
    def front(self) -> FrontEncoder:
        """The encoder, of the kind front."""
        assert isinstance(self.encoder, FrontEncoder)
        return self.encoder

    def whole_front(self) -> FrontEncoder:
        """Return the front that an encoder with the detector's own stages begins with: itself, if it is one."""
        if isinstance(self.encoder, FrontEncoder):
            return self.encoder
        spec = self.spec.encoder
        assert isinstance(spec, FrontSpec)
        plain = FrontSpec(spec.sides, spec.latent_channels, spec.channels, spec.blocks, spec.stretches)
        return FrontEncoder(plain, self.spec.detector, self.spec.split_point)

    def front_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the detector's own stages on the device that are trained."""
        return [parameter for parameter in self.kind.stages(self.encoder) if parameter.requires_grad]

    def linear_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that begin as principal components: none of an ensemble."""
        if not self.kind.starts_split:
            return []
        linear = (*self.kind.linear(self.encoder), *self.decoder.linear.parameters())
        return [parameter for parameter in linear if parameter.requires_grad]
