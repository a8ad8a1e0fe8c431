"""Every system that the video benchmark compares, at every setting."""

from __future__ import annotations

from benchmarks.video.eyes import Eyes
from benchmarks.video.frame_filter import FilteredVideo
from benchmarks.video.systems import ImageVideo, Setting, SplitVideo, StreamVideo
from benchmarks.video.tiled_latents import TiledVideo
from benchmarks.video.video_codec import VideoCodec
from benchmarks.video.video_figures import ALONE, OURS
from splitnet.bundle import DeviceBundle
from splitnet.errors import ConfigError
from splitnet.operating_point import Codec, OperatingPoint

IMAGE_QUALITIES = {Codec.JPEG: (5, 10, 20, 40, 60, 80), Codec.WEBP: (1, 5, 20, 50, 80)}
STREAMS = (("libx264", "veryfast"), ("libx264", "ultrafast"), ("libx265", "ultrafast"))
CRFS = (18, 24, 30, 36, 42, 48)
TILED_STREAMS = (("libx264", "veryfast"), ("libx265", "ultrafast"))
TILED_CRFS = (12, 20, 26, 32, 38)
FILTERED_JPEG, FILTERED_SPLIT = (10, 40), (3, 7)  # qualities of JPEG and of the bundle
THRESHOLDS = {"pixel": (0.002, 0.01, 0.04), "edge": (0.005, 0.015)}


def settings_of(device: DeviceBundle, qualities: list[int], with_stream: bool) -> list[Setting]:
    """Return every system at every setting, the bundle's at full width.

    with_stream: video codecs, too. ConfigError if the bundle has no tables for changes.
    """
    if device.codec.changes is None:
        raise ConfigError("the bundle has no tables for changes: `python -m training changes` makes them")
    points = [OperatingPoint(Codec.RANS, device.manifest.widths, quality) for quality in qualities]
    splits = [_split(device, point, changes) for changes in (False, True) for point in points]
    images = [_image(codec, level) for codec, levels in IMAGE_QUALITIES.items() for level in levels]
    last = device.manifest.qualities - 1
    filtered = [_image(Codec.JPEG, level) for level in FILTERED_JPEG]
    filtered += [
        _split(device, OperatingPoint(Codec.RANS, device.manifest.widths, min(quality, last)), False)
        for quality in FILTERED_SPLIT
    ]
    filters = [
        _filtered(one, name, level) for one in filtered for name, levels in THRESHOLDS.items() for level in levels
    ]
    if not with_stream:
        return [*splits, *images, *filters]
    streams = [_stream(*kind, crf) for kind in STREAMS for crf in CRFS]
    tiled = [_tiled(device, *kind, crf, last) for kind in TILED_STREAMS for crf in TILED_CRFS]
    return [*splits, *images, *streams, *tiled, *filters]


def _split(device: DeviceBundle, point: OperatingPoint, changes: bool) -> Setting:
    name = OURS if changes else ALONE
    return Setting(name, str(point), lambda eyes: SplitVideo(device, eyes, point, changes))


def _image(codec: Codec, level: int) -> Setting:
    return Setting(codec.value, f"q {level}", lambda eyes: ImageVideo(eyes, codec, level))


def _stream(encoder: str, preset: str, crf: int) -> Setting:
    def make(eyes: Eyes) -> StreamVideo:
        return StreamVideo(eyes, VideoCodec(encoder, preset, crf, (eyes.box.canvas_width, eyes.box.canvas_height)))

    return Setting(f"{encoder.removeprefix('lib')} {preset}", f"crf {crf}", make)


def _tiled(device: DeviceBundle, encoder: str, preset: str, crf: int, quality: int) -> Setting:
    name = f"latents by {encoder.removeprefix('lib')}"
    return Setting(name, f"crf {crf}", lambda eyes: TiledVideo(device, eyes, encoder, preset, crf, quality))


def _filtered(one: Setting, feature: str, threshold: float) -> Setting:
    kind = "split" if one.system == ALONE else one.system
    setting = f"{one.setting}, {feature} {threshold:g}"
    return Setting(f"filtered {kind}", setting, lambda eyes: FilteredVideo(one.make(eyes), feature, threshold))
