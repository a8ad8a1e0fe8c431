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
from dataclasses import replace
from typing import NamedTuple

from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.profile import DeviceProfile
from edge_client.capture.address import local_path, open_source
from edge_client.capture.source import Source
from edge_client.class_names import ClassNames
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
from edge_client.pipeline import ModelParts, Pipeline, Updating
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
    model: LoadedModel
    class_names: ClassNames  # of all sinks


class LoadedModel(NamedTuple):
    """A bundle's device half that is ready to run, and what this device needs for it."""

    parts: ModelParts
    profile: DeviceProfile | None  # None: nothing is chosen while it runs


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
    updating: Updating | None = None,
) -> BuiltRun:
    """Return the same with what belongs to it. on_progress: called with the share that is measured, 0..1.

    updating: what may change the model while it runs.
    """
    settings = _pipeline_settings(config)
    _check_outputs(config)
    if source is None:
        patience_s = config.camera_patience_s
        source = open_source(config.source, fps=config.fps, camera_patience_s=patience_s, loop=config.loop)
    model = load_model(config, on_progress)
    encoder, policy, local = model.parts.encoder, model.parts.policy, model.parts.local
    manifest = encoder.manifest
    names = ClassNames(manifest.class_names)
    view = view_sink(names, config.view_port) if config.view else None
    all_sinks = [*_sinks(config, source.fps, names), *([view] if view else []), *sinks]
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
        status=_status_maker(config, names),
        updating=updating,
    )
    return BuiltRun(
        pipeline,
        encoder,
        local,
        view.where if view else None,
        {} if model.profile is None else mode_tables(manifest, model.profile),
        model,
        names,
    )


def load_model(
    config: RunConfig,
    on_progress: Callable[[float], None] = lambda share: None,
    costs_as: LoadedModel | None = None,
) -> LoadedModel:
    """Return the model of a folder, as settings want it run. Raises as `build_pipeline`.

    costs_as: a model that has been measured here; one of the same shape costs the same and is not measured anew.
    """
    encoder = load_encoder(config.bundle, config.device, config.threads, config.backend)
    manifest = encoder.manifest
    choice = adapts(config, manifest)
    local = None
    if needs_local(config, choice):
        local = load_local(config.bundle, manifest, config.device, config.threads, config.backend)
    profile = None
    if choice is not None and costs_as is not None and _costs_the_same(encoder, local, costs_as):
        assert costs_as.profile is not None
        profile = replace(costs_as.profile, bundle_digest=manifest.digest)
    elif choice is not None:
        device = device_fingerprint(config.device, config.threads, encoder.backend)
        given = config.profile if costs_as is None else None
        profile = find_profile(encoder, local, device, given, on_progress)
    policy = make_policy(config, choice, encoder, local, profile)
    return LoadedModel(ModelParts(encoder, policy, local), profile)


def _costs_the_same(encoder: EncoderRuntime, local: LocalRuntime | None, other: LoadedModel) -> bool:
    """Return whether two models compute the same, with other weights."""
    if other.profile is None or encoder.backend != other.parts.encoder.backend:
        return False
    if (local is None) != (other.parts.local is None) or (local and local.digest != other.profile.local_digest):
        return False
    return _shape(encoder) == _shape(other.parts.encoder)


def _shape(encoder: EncoderRuntime) -> tuple[object, ...]:
    manifest, side = encoder.manifest, encoder.manifest.input_size
    widths = range(1, manifest.widths + 1)
    return (
        manifest.qualities,
        tuple(manifest.side(width) for width in widths),
        tuple(encoder.mmacs(width, (side, side)) for width in widths),
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
