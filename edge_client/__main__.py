"""The command `edge-client`: everything that parses arguments, prints and exits."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from threading import Event

import cv2

from edge_client.annotation import annotation_sink
from edge_client.config import ProfileConfig, RunConfig
from edge_client.encoder_runtime import EncoderRuntime, load_encoder
from edge_client.pipeline import Pipeline, PipelineSettings
from edge_client.policy import FixedPolicy, Policy, SchedulePolicy
from edge_client.profiling import drawn_images, profile_table, profile_to_json, profile_widths
from edge_client.sinks import JsonLinesSink, Sink
from edge_client.source import Image, Source, open_source
from splitnet.errors import ConfigError, SourceError, SplitError
from splitnet.settings import add_settings, read_settings

STATUS_INTERVAL_S = 0.5
DRAWN_IMAGES = 8  # of the profile: enough that the entropy coder does not always see the same
CLEAR_LINE = "\r\x1b[2K"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 done, 1 the source has failed, 2 cannot be done, 130 interrupted."""
    _quiet_libraries()
    try:
        parsed = _parser().parse_args(arguments)
        code: int = parsed.run(parsed)
        return code
    except SplitError as error:
        print(f"edge-client: {error}", file=sys.stderr)
        return 1 if isinstance(error, SourceError) else 2
    except KeyboardInterrupt:  # before the run has begun, or for the second time
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-client", description="The device's half of split object detection.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="detect objects in frames of a camera, video or folder, with a cloud-server")
    add_settings(run, RunConfig)
    run.set_defaults(run=_run)
    profile = commands.add_parser("profile", help="measure how long this device takes to encode a frame")
    add_settings(profile, ProfileConfig)
    profile.set_defaults(run=_profile)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    config = read_settings(RunConfig, arguments)
    settings = _pipeline_settings(config)
    source = open_source(config.source, fps=config.fps, camera_patience_s=config.camera_patience_s, loop=config.loop)
    encoder = load_encoder(config.bundle, config.device, config.threads)
    policy = _policy(config, encoder)
    pipeline = Pipeline(source, encoder, policy, _sinks(config, source, encoder), settings)
    try:
        asyncio.run(_run_until_signal(pipeline))
    finally:
        if pipeline.statistics.sessions:  # else there is nothing to tell but the error
            _report(pipeline, config.json_summary)
    return 0


def _pipeline_settings(config: RunConfig) -> PipelineSettings:
    return PipelineSettings(
        server=config.server,
        device_id=config.device_id,
        deadline_ms=config.deadline_ms,
        max_frames=config.max_frames,
        live=not config.as_fast_as_possible,
    )


def _policy(config: RunConfig, encoder: EncoderRuntime) -> Policy:
    manifest = encoder.manifest
    points = config.schedule or (config.point(manifest.widths, manifest.qualities),)
    for point in points:
        encoder.check(point)
    return SchedulePolicy(points, config.schedule_frames) if config.schedule else FixedPolicy(points[0])


def _sinks(config: RunConfig, source: Source, encoder: EncoderRuntime) -> list[Sink]:
    names = encoder.manifest.class_names
    sinks: list[Sink] = []
    if config.out is not None:
        sinks.append(JsonLinesSink(config.out, names))
    if config.annotate is not None:
        sinks.append(annotation_sink(config.annotate, source.fps, names))
    return sinks


async def _run_until_signal(pipeline: Pipeline) -> None:
    """Run; the first Ctrl+C or SIGTERM ends it cleanly, a second one at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        pipeline.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    showing = asyncio.create_task(_show_status(pipeline)) if sys.stderr.isatty() else None
    try:
        await pipeline.run()
    finally:
        if showing is not None:
            showing.cancel()


async def _show_status(pipeline: Pipeline) -> None:
    while True:
        await asyncio.sleep(STATUS_INTERVAL_S)
        line = pipeline.statistics.status_line(time.monotonic())
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # some terminals do not say
        sys.stderr.write(CLEAR_LINE + line[: columns - 1])
        sys.stderr.flush()


def _report(pipeline: Pipeline, json_path: Path | None) -> None:
    now = time.monotonic()
    if sys.stderr.isatty():
        sys.stderr.write(CLEAR_LINE)
    print(pipeline.statistics.summary(now), flush=True)
    if json_path is not None:
        _write_json(json_path, pipeline.statistics.to_json(now))


def _profile(arguments: argparse.Namespace) -> int:
    config = read_settings(ProfileConfig, arguments)
    encoder = load_encoder(config.bundle, config.device, config.threads)
    quality = encoder.manifest.qualities // 2 if config.quality is None else config.quality
    images = _profile_images(config)
    widths = profile_widths(encoder, images, quality, config.frames)
    print(profile_table(widths))
    _write_json(config.out, profile_to_json(encoder, images, quality, config.threads, widths))
    print(f"written to {config.out}")
    return 0


def _profile_images(config: ProfileConfig) -> list[Image]:
    if not config.source:
        return drawn_images(DRAWN_IMAGES)
    source = open_source(config.source, fps=1, camera_patience_s=0)
    return [picture.image for picture in islice(source.pictures(Event().wait), config.frames)]


def _write_json(path: Path, content: object) -> None:
    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); choose another place") from error


def _quiet_libraries() -> None:
    """Let our own one-line errors speak for OpenCV, FFmpeg and gRPC; the user's settings go first."""
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    clear = CLEAR_LINE if sys.stderr.isatty() else ""
    logging.basicConfig(level=logging.WARNING, format=clear + "edge-client: %(message)s")


if __name__ == "__main__":
    sys.exit(main())
