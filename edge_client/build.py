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

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from edge_client.adaptation.point_table import PointTable
from edge_client.adaptation.policy import Policy
from edge_client.adaptation.profile import DeviceProfile
from edge_client.adaptation.shared_link import SharedLink
from edge_client.camera_group import CameraGroup
from edge_client.capture.address import local_path, open_source
from edge_client.capture.camera import CameraSource
from edge_client.capture.source import Source, SourceSettings
from edge_client.class_names import ClassNames
from edge_client.config import RunConfig
from edge_client.encoding.encoder import EncoderRuntime, load_encoder, read_manifest
from edge_client.encoding.local_detector import LocalRuntime, load_local
from edge_client.group_run import group_password, shared_camera, stream_of
from edge_client.measuring.cpu_sampler import CpuSampler
from edge_client.measuring.device_profile import find_profile
from edge_client.measuring.profile_cache import device_fingerprint
from edge_client.measuring.thermometer import temperature_c
from edge_client.output.annotation import annotation_sink
from edge_client.output.detection_record import NamedClasses
from edge_client.output.journal import Journal
from edge_client.output.own_status import StatusMaker
from edge_client.output.places import check_places, check_writable, place_of_camera
from edge_client.output.report_sink import ReportSink
from edge_client.output.sinks import JsonLinesSink, OfCamera, ScoreFilter, Sink, SinkThread
from edge_client.output.together import all_classes, together
from edge_client.output.trace import TraceFile
from edge_client.output.view import view_sink
from edge_client.pipeline import Pipeline
from edge_client.pipeline_parts import HandsOn, ModelParts, Updating
from edge_client.pipeline_settings import PipelineSettings
from edge_client.policy_choice import adapts, make_policy, mode_tables, needs_local
from edge_client.transport.tls_files import tls_files
from edge_client.turns import Turns
from splitnet.codec.compiler import COMPILES
from splitnet.environment import processor, version
from splitnet.errors import ConfigError
from splitnet.operating_point import Mode
from splitnet.outputs.reporter import Reporter

if TYPE_CHECKING:
    from splitnet.device_package import PackageManifest
    from splitnet.manifest import Manifest


class BuiltRun(NamedTuple):
    """The cameras of a run, and what there is to say of it."""

    cameras: CameraGroup
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


def build_pipeline(
    config: RunConfig, sinks: Sequence[Sink] = (), source: Source | None = None, policy: Policy | None = None
) -> Pipeline:
    """Return the pipeline that settings with one source describe; each result goes to the sinks, too.

    source, policy: of your own, instead of the settings'. Loads the bundle. With a deadline, the first run on a device
    also measures it for a few seconds. Raises ConfigError, BundleError, ProfileError or SourceError if something cannot
    be had as it is asked for.
    """
    if source is None and len(config.cameras) > 1:
        raise ConfigError("these settings have several sources: use build_cameras")
    return build_run(config, sinks, source=source, policy=policy).cameras.only


def build_cameras(config: RunConfig, sinks: Sequence[Sink] = ()) -> CameraGroup:
    """Return the same for any number of sources: a pipeline each, which share encoder, detector, uplink and sinks."""
    return build_run(config, sinks).cameras


def build_run(
    config: RunConfig,
    sinks: Sequence[Sink] = (),
    on_progress: Callable[[float], None] = lambda share: None,
    source: Source | None = None,
    updating: Updating | None = None,
    policy: Policy | None = None,
) -> BuiltRun:
    """Return the same with what belongs to it. on_progress: called with the share that is measured, 0..1.

    updating: what may change the model while it runs, of a single camera.
    """
    others = _further_bundles(config)
    _pipeline_settings(config)  # what is wrong is said before anything is opened
    if config.in_layers and not COMPILES:
        raise ConfigError("--in-layers needs a package that is not installed: pip install numba")
    _check_outputs(config)
    with ExitStack() as opened:
        sources = _open_sources(config, opened) if source is None else {"": source}
        model = load_model(config, on_progress)
        if policy is not None:
            model = model._replace(parts=replace(model.parts, policy=policy))
        names = ClassNames(model.parts.encoder.manifest.class_names)
        further = [(one.name, one.class_names) for one in others]
        every_name = all_classes(names, further)
        view = view_sink(every_name, config.view_port, tuple(sources)) if config.view else None
        shown: list[Sink] = [] if view is None else [together(view, names, further)]
        outputs = _outputs(config, sources, names, further, [*shown, *sinks])
        shared = _Shared(names, tuple(one.device_digest for one in others), outputs)
        parts = parts_of_cameras(config, model, len(sources))
        hands_on = shared_camera(config)
        pipelines = {
            name: _pipeline(config, name, one, part, shared, i / len(sources), updating, hands_on)
            for i, ((name, one), part) in enumerate(zip(sources.items(), parts, strict=True))
        }
        opened.pop_all()
    encoder, local = model.parts.encoder, model.parts.local
    tables = {} if model.profile is None else mode_tables(encoder.manifest, model.profile)
    return BuiltRun(CameraGroup(pipelines), encoder, local, view.where if view else None, tables, model, names)


def parts_of_cameras(config: RunConfig, model: LoadedModel, cameras: int) -> list[ModelParts]:
    """Return what each camera has of a model: weights in common, and what it learns of its own frames for itself."""
    encoder, local = model.parts.encoder, model.parts.local
    if cameras == 1:
        return [model.parts]
    link, choice = SharedLink(), adapts(config, encoder.manifest)
    return [
        ModelParts(
            encoder.for_another_camera(),
            make_policy(config, choice, encoder, local, model.profile, link.camera()),
            local,
        )
        for _ in range(cameras)
    ]


def load_model(
    config: RunConfig,
    on_progress: Callable[[float], None] = lambda share: None,
    costs_as: LoadedModel | None = None,
) -> LoadedModel:
    """Return the model of a folder, as settings want it run. Raises as `build_pipeline`.

    costs_as: a model that has been measured here; one of the same shape costs the same and is not measured anew.
    """
    encoder = load_encoder(config.bundle, config.device, config.threads, config.backend, config.place)
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


def _further_bundles(config: RunConfig) -> list[Manifest | PackageManifest]:
    return [read_manifest(folder) for folder in config.further_bundle or ()]


@dataclass(frozen=True)
class _Shared:
    """What the cameras of a run have in common, besides the model."""

    names: ClassNames
    further_digests: tuple[str, ...]  # of the further bundles of every session
    outputs: SinkThread
    turns: Turns = field(default_factory=Turns)
    local_turns: Turns = field(default_factory=Turns)


def _open_sources(config: RunConfig, opened: ExitStack) -> dict[str, Source]:
    """Return the sources by the names of their cameras. opened: closes them, should the run not come about."""
    sources: dict[str, Source] = {}
    settings = SourceSettings(
        fps=config.fps,
        loop=config.loop,
        patience_s=config.camera_patience_s,
        timeout_s=config.camera_timeout_s,
        transport=config.rtsp_transport,
        size=config.frame_size,
        is_needed=len(config.cameras) == 1,
        password=group_password(config),
    )
    for name, address in config.cameras:
        sources[name] = source = open_source(address, settings)
        if isinstance(source, CameraSource):
            opened.callback(source.close)
    return sources


def _pipeline(
    config: RunConfig,
    name: str,
    source: Source,
    parts: ModelParts,
    shared: _Shared,
    part: float,
    updating: Updating | None,
    hands_on: HandsOn | None,
) -> Pipeline:
    """Return the pipeline of one camera. part: of a frame's interval, by which it begins later than the first."""
    own: dict[str, Any] = {"camera": name, "offset_s": part / source.fps, "further_digests": shared.further_digests}
    settings = replace(_pipeline_settings(config), **own)
    return Pipeline(
        source,
        parts.encoder,
        parts.policy,
        shared.outputs,
        settings,
        local=parts.local,
        sampler=CpuSampler(),
        status=_status_maker(config, shared.names),
        turns=shared.turns,
        local_turns=shared.local_turns,
        updating=updating,
        hands_on=hands_on,
    )


def _pipeline_settings(config: RunConfig) -> PipelineSettings:
    return PipelineSettings(
        server="" if config.mode == Mode.LOCAL.value else config.server or "",
        device_id=config.device_id,
        deadline_ms=config.deadline_ms,
        max_frames=config.max_frames,
        live=not config.as_fast_as_possible,
        answer_timeout_s=config.answer_timeout_s,
        drain_timeout_s=config.answer_timeout_s / 2,
        use_proxy=config.use_proxy,
        tls=tls_files(config),
        repeat_s=config.repeat_s,
        smooth=config.smooth,
        whole_frames=config.whole_frames,
        in_layers=config.in_layers,
        place=config.place,
        group_stream=stream_of(config),
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
    sources = [path for _, address in config.cameras if (path := local_path(address)) is not None]
    check_places({option: path for option, path in given.items() if path is not None}, sources)
    if config.json_summary is not None:
        check_writable("--json-summary", config.json_summary)


def _outputs(
    config: RunConfig,
    sources: Mapping[str, Source],
    names: Sequence[str],
    further: NamedClasses,
    more: Sequence[Sink],
) -> SinkThread:
    """Return what takes the results of all cameras. names: of the classes. more: sinks that no setting names."""
    sinks: list[Sink] = [] if config.out is None else [JsonLinesSink(config.out, names, further)]
    if config.annotate is not None:
        for camera, source in sources.items():
            path = config.annotate if len(sources) == 1 else place_of_camera(config.annotate, camera)
            drawn = annotation_sink(path, source.fps, all_classes(names, further))
            sinks.append(OfCamera(together(drawn, names, further), camera))
    if config.reports:
        reports = ReportSink(Reporter(config, config.device_id), all_classes(names, further))
        sinks.append(together(reports, names, further))
    sinks += more
    if config.min_score > 0:
        sinks = [ScoreFilter(sink, config.min_score) for sink in sinks]
    traces = [] if config.trace_out is None else [TraceFile(config.trace_out, config.deadline_ms, time.monotonic())]
    return SinkThread(sinks, traces)
