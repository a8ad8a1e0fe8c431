"""The command `edge-client`: everything that parses arguments, prints and exits."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from threading import Event

import cv2

from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.profile import DeviceProfile
from edge_client.build import build_run, limits_of, mode_tables
from edge_client.capture.address import open_source
from edge_client.config import ProfileConfig, RunConfig
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from edge_client.encoding.local_detector import LocalRuntime, load_local
from edge_client.frames import Image
from edge_client.measuring import device_profile
from edge_client.measuring.link_probe import measure_link, probe_frames
from edge_client.measuring.profile_cache import device_fingerprint, keep_profile
from edge_client.measuring.profiling import (
    Effort,
    drawn_images,
    measure,
    points_to_measure,
    profile_of,
    profile_table,
    profile_to_json,
)
from edge_client.output.advice import advice
from edge_client.output.mode_scores import RunConditions, as_seen, conditions_of_run
from edge_client.output.report import status_line, summary, to_json
from edge_client.pipeline import Pipeline
from splitnet.errors import ConfigError, SourceError, SplitError
from splitnet.messages import MAX_DEVICE_ID_CHARS, OpenSession
from splitnet.operating_point import Mode
from splitnet.settings import add_commands, add_settings, read_settings

STATUS_INTERVAL_S = 0.5
DRAWN_IMAGES = 8  # of the profile: enough that the entropy coder does not always see the same
CLEAR_LINE = "\r\x1b[2K"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 done, 1 the source has failed, 2 cannot be done, 130 interrupted."""
    _quiet_libraries()
    try:
        parsed = _parser().parse_args(arguments)
        code: int = parsed.command(parsed)
        return code
    except SplitError as error:
        print(f"edge-client: {error}", file=sys.stderr)
        return 1 if isinstance(error, SourceError) else 2
    except KeyboardInterrupt:  # before the run has begun, or for the second time
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge-client", description="The device's half of split object detection.")
    commands = add_commands(parser)
    run = commands.add_parser("run", help="detect objects in frames of a camera, video or folder")
    add_settings(run, RunConfig)
    run.set_defaults(command=_run)
    profile = commands.add_parser("profile", help="measure what each operating point costs on this device")
    add_settings(profile, ProfileConfig)
    profile.set_defaults(command=_profile)
    return parser


def _run(arguments: argparse.Namespace) -> int:
    config = read_settings(RunConfig, arguments)
    pipeline, encoder, local, tables = build_run(config, on_progress=_show_progress)
    _tell_what_runs(encoder, local)
    try:
        asyncio.run(_run_until_signal(pipeline))
    finally:
        if pipeline.statistics.sessions or pipeline.statistics.detected:  # else there is nothing to tell but the error
            _report(pipeline, config, tables)
    return 0


def _tell_what_runs(encoder: EncoderRuntime, local: LocalRuntime | None) -> None:
    parts = [f"bundle {encoder.manifest.name} {encoder.manifest.digest[:12]}", f"encoder by {encoder.backend}"]
    parts += [] if local is None else [f"local detector {local.name} by {local.backend}"]
    print(", ".join(parts), flush=True)


def _show_progress(share: float) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"{CLEAR_LINE}measured {share:.0%}" if share < 1 else CLEAR_LINE)
        sys.stderr.flush()


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
        line = status_line(pipeline.statistics, time.monotonic())
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # some terminals do not say
        sys.stderr.write(CLEAR_LINE + line[: columns - 1])
        sys.stderr.flush()


def _report(pipeline: Pipeline, config: RunConfig, tables: Mapping[Mode, PointTable]) -> None:
    now, run = time.monotonic(), pipeline.statistics
    if sys.stderr.isatty():
        sys.stderr.write(CLEAR_LINE)
    print(summary(run, now))
    conditions = conditions_of_run(run, now, limits_of(config))
    lines: list[str] = []
    if tables and conditions is not None:
        lines = advice(as_seen(tables, run), conditions)
    print("".join(f"{line}\n" for line in lines), end="", flush=True)
    if config.json_summary is not None:
        _write_json(config.json_summary, {**to_json(run, now), "advice": lines})


def _profile(arguments: argparse.Namespace) -> int:
    config = read_settings(ProfileConfig, arguments)
    encoder = load_encoder(config.bundle, config.device, config.threads, config.backend)
    manifest = encoder.manifest
    local = load_local(config.bundle, manifest, config.device, config.threads, config.backend)
    _tell_what_runs(encoder, local)
    images = _profile_images(config)
    quality = manifest.qualities // 2 if config.quality is None else config.quality
    points = points_to_measure(manifest, quality, local is not None)
    measured = measure(encoder, local, images, points, Effort(config.frames, config.seconds), _show_progress)
    device = device_fingerprint(config.device, config.threads, encoder.backend)
    profile = profile_of(manifest, device, measured, local)
    print(profile_table(measured))
    if (path := keep_profile(profile)) is not None:
        print(f"kept in {path}")
    if config.out is not None:
        size = images[0].shape[1], images[0].shape[0]
        _write_json(config.out, profile_to_json(profile, manifest.name, size, measured, encoder.backend))
        print(f"written to {config.out}")
    if config.server:
        _advise(config, encoder, images[0], profile)
    return 0


def _advise(config: ProfileConfig, encoder: EncoderRuntime, image: Image, profile: DeviceProfile) -> None:
    """Measure the way to a server and say which mode would serve best."""
    manifest = encoder.manifest
    opening = OpenSession(platform.node()[:MAX_DEVICE_ID_CHARS] or "edge-client", manifest.digest)
    size = image.shape[1], image.shape[0]
    measured = asyncio.run(measure_link(config.server, opening, *probe_frames(encoder, image), size))
    limits = ControlSettings(config.deadline_ms)
    conditions = RunConditions(limits, config.fps, measured.capacity_bps, measured.rtt_ms, measured.server_ms)
    print("\n".join(advice(mode_tables(manifest, profile), conditions)))


def _profile_images(config: ProfileConfig) -> list[Image]:
    if not config.source:
        return drawn_images(DRAWN_IMAGES)
    source = open_source(config.source, fps=1, camera_patience_s=0)
    return [shown.image for shown in islice(source.images(Event().wait), config.frames)]


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
    logging.getLogger(device_profile.__name__).setLevel(logging.INFO)  # it says what one waits for


if __name__ == "__main__":
    sys.exit(main())
