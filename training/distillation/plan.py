"""The plan of a distillation, from its settings: the student's shape, and the recipe."""

from __future__ import annotations

from dataclasses import replace

from splitnet.errors import ConfigError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.manifest import Manifest, load_manifest
from splitnet.nn.architectures import architecture_of
from splitnet.nn.decoder import DecoderSpec
from splitnet.nn.encoder.ensemble import EnsembleSpec
from splitnet.nn.encoder.front import FrontSpec
from splitnet.nn.encoder.front_ensemble import FrontEnsembleSpec
from splitnet.nn.encoder.sliced_front import SlicedFrontSpec
from splitnet.nn.encoder.slimmable import SlimmableSpec
from splitnet.nn.encoder.spec import EncoderSpec
from splitnet.nn.encoder_kinds import KINDS
from training.data.crops import CropSpec
from training.distillation.image_run import input_size
from training.distillation.recipe import Recipe, recipe_for
from training.distillation.settings import DistillSettings
from training.distillation.student import StudentSpec

SHARES = (1 / 2, 5 / 8, 3 / 4, 1)  # of the detector's square: the sides of a front's widths
# Where frames fill their square: a 4:3 frame costs about what it does letterboxed at those above. One is larger.
STRETCHED_SHARES = (11 / 26, 14 / 26, 18 / 26, 22 / 26, 1)


def recipe_of(settings: DistillSettings) -> Recipe:
    """Return how it is trained. ConfigError if there is no such quality, or on a learning rate that is none."""
    recipe = recipe_for(settings.encoder, settings.detector)
    if settings.tail_rate is not None:
        if not 0 < settings.tail_rate < 1:
            raise ConfigError(f"--tail-rate is {settings.tail_rate}, must be between 0 and 1")
        recipe = replace(recipe, tail_rate=settings.tail_rate)
    return recipe.alone(settings.only[1]) if settings.only else recipe


def crop_scales(settings: DistillSettings) -> tuple[float, float]:
    """Return the scales of the crops, at 1 of which an image just fits the full width's square: as asked, or as usual.

    A front's widths are sizes of the image: it sees crops from its smallest to its largest one.
    """
    smallest, largest = settings.crop_scales or recipe_for(settings.encoder, settings.detector).scales
    if not _is_front(settings) or settings.crop_scales:
        return smallest, largest
    sides = _sides(settings)
    return smallest * (sides[0] / sides[-1]), largest


def crop_spec(settings: DistillSettings) -> CropSpec:
    """Return how crops are cut: pictures of all the sizes that the encoder's widths see."""
    low, high = crop_scales(settings)
    return CropSpec(settings.square, full_side(settings), low, high, stretches=_stretches(settings))


def _stretches(settings: DistillSettings) -> bool:
    """Return whether the encoder's frames fill their square."""
    if settings.complete is not None:
        return load_manifest(settings.complete).encoder.stretches
    return _is_front(settings) and architecture_of(settings.detector).fills


def _is_front(settings: DistillSettings) -> bool:
    """Return whether the encoder begins with the detector's own stages, and has widths that are sizes."""
    return issubclass(KINDS[settings.encoder], FrontSpec)


def full_side(settings: DistillSettings) -> int:
    """Return the side of the square, in pixels, that frames are fitted into at full width.

    It is the detector's own, or that of the only width of a front that is trained alone.
    """
    return _sides(settings)[-1] if _is_front(settings) else input_size(settings)


def student_spec(settings: DistillSettings, classes: int) -> StudentSpec:
    """Return what is trained. ConfigError if its sizes cannot be, or if settings are of another kind of encoder."""
    recipe = recipe_of(settings)
    kept = completed_manifest(settings)
    return StudentSpec(
        settings.detector,
        classes,
        settings.split_point,
        recipe.qualities,
        encoder=kept.encoder if kept else _encoder(settings, recipe.qualities),
        decoder=recipe.decoder,
        kept_front=kept.front if kept else None,
    )


def completed_manifest(settings: DistillSettings) -> Manifest | None:
    """Return the manifest of the bundle that is to be completed, None if there is none.

    ConfigError if its kind of encoder or its square are not such as the new half can have, or if settings are about
    an encoder that is to be trained.
    """
    if settings.complete is None:
        return None
    manifest = load_manifest(settings.complete)
    if (kind := manifest.encoder.kind) != FrontSpec.kind:
        raise ConfigError(f"{settings.complete} has an encoder of the kind {kind}: only a front can be completed")
    if settings.train_front or settings.frozen_norm or settings.only or settings.sides:
        raise ConfigError("--complete keeps the encoder: leave --train-front, --frozen-norm, --only and --sides out")
    if manifest.input_size != (size := input_size(settings)):
        raise ConfigError(f"{settings.complete} sees {manifest.input_size} pixels, not {size}: give --input-size")
    return manifest


def _encoder(settings: DistillSettings, qualities: int) -> EncoderSpec:
    if settings.encoder == SlimmableSpec.kind:
        return _slimmable(settings, qualities)
    if settings.encoder in (SlicedFrontSpec.kind, FrontEnsembleSpec.kind):
        return _sliced(settings)
    if settings.shares:
        raise ConfigError(f"--shares is for encoders with slices: give --encoder {SlimmableSpec.kind}, or leave it out")
    if settings.encoder == FrontSpec.kind:
        stretches = _stretches(settings)
        if recipe_for(settings.encoder, settings.detector).is_light:
            return FrontSpec(_sides(settings), channels=0, blocks=1, stretches=stretches)
        return FrontSpec(_sides(settings), stretches=stretches)
    if settings.only:
        raise ConfigError("--only is for encoders that share their weights: leave it out for an ensemble")
    return EnsembleSpec()


def _sliced(settings: DistillSettings) -> EncoderSpec:
    """Return a front with slices, or two of them. ConfigError if a detector or a share cannot be sliced."""
    if settings.only:
        raise ConfigError("--only is for a front or a slimmable: leave it out")
    spec: EncoderSpec
    if settings.encoder == SlicedFrontSpec.kind:
        spec = SlicedFrontSpec(_sides(settings), shares=tuple(settings.shares) or SlicedFrontSpec.shares)
    else:
        share, *more = settings.shares or (FrontEnsembleSpec.share,)
        if more:
            raise ConfigError("--shares of a front-ensemble is one: that of the second member's channels")
        size = input_size(settings)
        spec = FrontEnsembleSpec((size // 2, size), share=share)
    spec.check(DecoderSpec(), settings.detector, settings.split_point)
    return spec


def _slimmable(settings: DistillSettings, qualities: int) -> SlimmableSpec:
    shares = tuple(settings.shares) or SlimmableSpec.shares
    of_widths = _from_half(len(shares)) if settings.slice_latent == "width" else ()
    if settings.only:
        return SlimmableSpec(shares, of_widths).alone(settings.only[0])
    return SlimmableSpec(shares, of_widths, _from_half(qualities) if settings.slice_latent == "quality" else ())


def _from_half(count: int) -> tuple[int, ...]:
    """Return so many percentages, evenly from a half to the whole."""
    return (*(50 + 50 * i // (count - 1) for i in range(count - 1)), 100)


def _sides(settings: DistillSettings) -> tuple[int, ...]:
    """Return the sides of a front's widths: as asked, or as usual, or only that of the one that is trained alone."""
    if settings.complete is not None:
        return load_manifest(settings.complete).sides
    size = input_size(settings)
    if settings.sides and settings.sides[-1] != size:
        raise ConfigError(f"--sides must end with the detector's own, {size}")
    shares = STRETCHED_SHARES if _stretches(settings) else SHARES
    usual = (round(size * share / LATENT_STRIDE) * LATENT_STRIDE for share in shares)
    sides = tuple(settings.sides) or tuple(dict.fromkeys(usual))  # of a small square some shares are the same
    return (_only(sides, settings.only[0]),) if settings.only else sides


def _only(sides: tuple[int, ...], width: int) -> int:
    """Return the side of the width that is trained alone. ConfigError if there is none, or no detector's square."""
    if not 1 <= width <= len(sides):
        raise ConfigError(f"width {width} is not in 1..{len(sides)}")
    if (side := sides[width - 1]) % 32:
        raise ConfigError(f"width {width} sees {side} pixels a side: a detector alone needs a multiple of 32")
    return side
