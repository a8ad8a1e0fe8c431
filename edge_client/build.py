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
from typing import NamedTuple

from edge_client.adaptation.point_table import PointTable
from edge_client.capture.address import local_path, open_source
from edge_client.capture.source import Source
from edge_client.config import RunConfig
from edge_client.encoding.encoder import EncoderRuntime, load_encoder
from edge_client.encoding.local_detector import LocalRuntime, load_local
from edge_client.measuring.cpu_sampler import CpuSampler
from edge_client.measuring.device_profile import find_profile
from edge_client.measuring.profile_cache import device_fingerprint
from edge_client.measuring.thermometer import temperature_c
from edge_client.output.annotation import annotation_sink
from edge_client.output.journal import Journal
from edge_client.output.own_status import StatusMaker
from edge_client.output.places import check_places, check_writable
from edge_client.output.report_sink import ReportSink
from edge_client.output.sinks import JsonLinesSink, ScoreFilter, Sink
from edge_client.output.view import view_sink
from edge_client.pipeline import Pipeline
from edge_client.pipeline_settings import PipelineSettings
from edge_client.policy_choice import adapts, make_policy, mode_tables, needs_local
from edge_client.transport.tls_files import tls_files
from splitnet.environment import processor, version
from splitnet.operating_point import Mode
from splitnet.outputs.reporter import Reporter


class BuiltRun(NamedTuple):
    """A pipeline, and what there is to say of it."""

    pipeline: Pipeline
    encoder: EncoderRuntime
    local: LocalRuntime | None
    view: str | None  # where frames and boxes are shown
    tables: Mapping[Mode, PointTable]  # what each mode could do here, for the advice; empty if nothing is chosen


def build_pipeline(config: RunConfig, sinks: Sequence[Sink] = (), source: Source | None = None) -> Pipeline:
    """Return the pipeline that settings describe; each result goes to the sinks, too.

    source: of your own, instead of the settings'. Loads the bundle. With a deadline, the first run on a device also
    measures it for a few seconds. Raises ConfigError, BundleError, ProfileError or SourceError if something cannot be
    had as it is asked for.
    """
    return build_run(config, sinks, source=source).pipeline


def build_run(
    config: RunConfig,
    sinks: Sequence[Sink] = (),
    on_progress: Callable[[float], None] = lambda share: None,
    source: Source | None = None,
) -> BuiltRun:
    """Return the same with what belongs to it. on_progress: called with the share that is measured, 0..1."""
    settings = _pipeline_settings(config)
    _check_outputs(config)
    if source is None:
        patience_s = config.camera_patience_s
        source = open_source(config.source, fps=config.fps, camera_patience_s=patience_s, loop=config.loop)
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
        source,
        encoder,
        policy,
        all_sinks,
        settings,
        local=local,
        sampler=CpuSampler(),
        trace_out=config.trace_out,
        status=_status_maker(config, manifest.class_names),
    )
    return BuiltRun(
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
        tls=tls_files(config),
        repeat_s=config.repeat_s,
        smooth=config.smooth,
        whole_frames=config.whole_frames,
        in_layers=config.in_layers,
    )


def _status_maker(config: RunConfig, class_names: Sequence[str]) -> StatusMaker | None:
    if config.no_status:
        return None
    journal = Journal(class_names, config.preview)
    return StatusMaker(journal, f"slimsplit {version()}", processor(), config.deadline_ms, temperature_c)


def _check_outputs(config: RunConfig) -> None:
    given = {
        "--out": config.out,
        "--trace-out": config.trace_out,
        "--annotate": config.annotate,
        "--json-summary": config.json_summary,
        "--events-out": config.events_out,
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
    if config.reports:
        sinks.append(ReportSink(Reporter(config, config.device_id), class_names))
    return sinks
