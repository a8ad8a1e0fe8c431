"""The front door for programs: from the settings of `edge-client run` to a pipeline that is ready to run.

    from edge_client.build import build_pipeline
    from edge_client.config import RunConfig
    from edge_client.output.sinks import CallbackSink

    def show(result):
        print(f"frame {result.frame.frame_id}: {len(result.detections)} objects by {result.encoded.point}")

    config = RunConfig(server="edge-node:50051", source="street.mp4", deadline_ms=200)
    statistics = build_pipeline(config, [CallbackSink(show)]).run_blocking()
    print(f"{statistics.detected} of {statistics.captured} frames, {statistics.late} of them late")

With a deadline every frame's operating point is chosen by what was measured, so that its detections arrive in time.
Inside an event loop of your own, `await pipeline.run()` instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import Choice, PointTable, build_table
from edge_client.adaptation.policy import FixedPolicy, Policy, SchedulePolicy
from edge_client.adaptation.profile import DeviceProfile
from edge_client.capture.address import local_path, open_source
from edge_client.config import RunConfig
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from edge_client.encoding.local_detector import LocalRuntime, load_local
from edge_client.measuring.cpu_sampler import CpuSampler
from edge_client.measuring.device_profile import find_profile
from edge_client.measuring.profile_cache import device_fingerprint
from edge_client.output.annotation import annotation_sink
from edge_client.output.places import check_places, check_writable
from edge_client.output.sinks import JsonLinesSink, ScoreFilter, Sink
from edge_client.output.view import view_sink
from edge_client.pipeline import Pipeline, PipelineSettings
from splitnet.errors import ConfigError
from splitnet.operating_point import LOCAL, Mode, OperatingPoint

if TYPE_CHECKING:
    from splitnet.manifest import Manifest

_CHOICES: dict[str, Choice] = {"auto": "auto", "split": "split", "image": "image"}


class Run(NamedTuple):
    """A pipeline, and what there is to say of it."""

    pipeline: Pipeline
    encoder: EncoderRuntime
    local: LocalRuntime | None
    view: str | None  # where frames and boxes are shown
    tables: Mapping[Mode, PointTable]  # what each mode could do here, for the advice; empty if nothing is chosen


def build_pipeline(config: RunConfig, sinks: Sequence[Sink] = ()) -> Pipeline:
    """Return the pipeline that settings describe; each result goes to the sinks, too.

    Loads the bundle. With a deadline, the first run on a device also measures it for a few seconds. Raises ConfigError,
    BundleError, ProfileError or SourceError if something cannot be had as it is asked for.
    """
    return build_run(config, sinks).pipeline


def build_run(
    config: RunConfig, sinks: Sequence[Sink] = (), on_progress: Callable[[float], None] = lambda share: None
) -> Run:
    """Return the same with what belongs to it. on_progress: called with the share that is measured, 0..1."""
    settings = _pipeline_settings(config)
    _check_outputs(config)
    source = open_source(config.source, fps=config.fps, camera_patience_s=config.camera_patience_s, loop=config.loop)
    encoder = load_encoder(config.bundle, config.device, config.threads, config.backend)
    manifest = encoder.manifest
    choice = adapts(config, manifest)
    local = None
    if needs_local(config, choice):
        local = load_local(config.bundle, manifest, config.device, config.threads, config.backend)
    profile = None
    if choice is not None:
        device = device_fingerprint(config.device, config.threads, encoder.backend)
        profile = find_profile(encoder, local, device, config.profile, on_progress)
    policy = make_policy(config, choice, encoder, local, profile)
    view = view_sink(manifest.class_names, config.view_port) if config.view else None
    all_sinks = [*_sinks(config, source.fps, manifest.class_names), *([view] if view else []), *sinks]
    if config.min_score > 0:
        all_sinks = [ScoreFilter(sink, config.min_score) for sink in all_sinks]
    pipeline = Pipeline(
        source, encoder, policy, all_sinks, settings, local=local, sampler=CpuSampler(), trace_out=config.trace_out
    )
    return Run(
        pipeline,
        encoder,
        local,
        view.where if view else None,
        {} if profile is None else mode_tables(manifest, profile),
    )


def _pipeline_settings(config: RunConfig) -> PipelineSettings:
    return PipelineSettings(
        server="" if config.mode == Mode.LOCAL.value else config.server or "",
        device_id=config.device_id,
        deadline_ms=config.deadline_ms,
        max_frames=config.max_frames,
        live=not config.as_fast_as_possible,
        use_proxy=config.use_proxy,
        whole_frames=config.whole_frames,
    )


def _check_outputs(config: RunConfig) -> None:
    given = {
        "--out": config.out,
        "--trace-out": config.trace_out,
        "--annotate": config.annotate,
        "--json-summary": config.json_summary,
    }
    check_places({option: path for option, path in given.items() if path is not None}, local_path(config.source))
    if config.json_summary is not None:
        check_writable("--json-summary", config.json_summary)


def _sinks(config: RunConfig, fps: float, class_names: Sequence[str]) -> list[Sink]:
    sinks: list[Sink] = []
    if config.out is not None:
        sinks.append(JsonLinesSink(config.out, class_names))
    if config.annotate is not None:
        sinks.append(annotation_sink(config.annotate, fps, class_names))
    return sinks


def adapts(config: RunConfig, manifest: Manifest) -> Choice | None:
    """Return what to choose from while running; None if what to do is fixed.

    Raises ConfigError if the settings contradict one another or the bundle.
    """
    choice = _wanted(config, manifest)
    if choice is None and (config.min_fps or config.max_kbps):
        raise ConfigError("--min-fps and --max-kbps bound what is chosen while running: give --deadline-ms as well")
    return choice


def _wanted(config: RunConfig, manifest: Manifest) -> Choice | None:
    able = config.deadline_ms > 0 and bool(manifest.points)
    if config.mode == "auto" and not able:
        missing = f"bundle {manifest.name} has no measured points: run `python -m training evaluate` on it"
        raise ConfigError(missing if config.deadline_ms > 0 else "--mode auto needs --deadline-ms")
    if config.fixes_the_point or config.mode == Mode.LOCAL.value or not able:
        return None
    return _CHOICES[config.mode or "auto"]


def needs_local(config: RunConfig, choice: Choice | None) -> bool:
    """Return whether the device's own detector is worth its memory."""
    return choice == "auto" or any(point == LOCAL for point in _fixed_points(config))


def make_policy(
    config: RunConfig,
    choice: Choice | None,
    encoder: EncoderRuntime,
    local: LocalRuntime | None,
    profile: DeviceProfile | None,
) -> Policy:
    """Return who chooses: with a profile, the policy that adapts. Raises ConfigError."""
    manifest = encoder.manifest
    if choice is not None and profile is not None:
        return AdaptivePolicy(build_table(manifest, profile, choice), limits_of(config, local is not None))
    points = _fixed_points(config) or (config.point(manifest.widths, manifest.qualities),)
    for point in points:
        encoder.check(point)
    if LOCAL in points and local is None:
        if (config.bundle / manifest.local_file).exists():
            raise ConfigError("there is no memory to detect on the device")
        raise ConfigError(f"to detect on the device, copy {manifest.local_file} of bundle {manifest.name} there too")
    return SchedulePolicy(points, config.schedule_frames) if config.schedule else FixedPolicy(points[0])


def limits_of(config: RunConfig, has_local: bool = False) -> ControlSettings:
    """Return what the user asks of the choice."""
    return ControlSettings(config.deadline_ms, config.min_fps, config.max_kbps, has_local)


def _fixed_points(config: RunConfig) -> tuple[OperatingPoint, ...]:
    return (LOCAL,) if config.mode == Mode.LOCAL.value else config.schedule


def mode_tables(manifest: Manifest, profile: DeviceProfile) -> Mapping[Mode, PointTable]:
    """Return the table of each mode that there is one for, to compare them; see `advice`."""
    choices: dict[Mode, Choice] = {Mode.SPLIT: "split", Mode.IMAGE: "image", Mode.LOCAL: "local"}
    tables = {}
    for mode, choice in choices.items():
        with suppress(ConfigError):  # nothing to choose from in this mode
            tables[mode] = build_table(manifest, profile, choice)
    return tables
