"""Clips over links that change: the controller with frames as changes, with whole frames, and with H.264.

Time is simulated as in `adapt`. What is sent is not: every frame goes through the product's own encoder, with the
references that the session would hold at that moment, and through the bundle's server half. Fidelity is AP against the
unsplit detector's boxes on the uncompressed frames, whatever their classes; a frame that is late counts as one without
detections.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.adaptation.links import JUDGE, chosen_links
from benchmarks.adaptation.machine_times import MachineTimes, measured_here, times_of
from benchmarks.adaptation.rivals import LocalOnlyPolicy
from benchmarks.adaptation.simulation import Device, FrameLog, Outcome, World, simulate
from benchmarks.adaptive_video.clip_camera import ClipCamera, Sight
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.traces import Trace
from benchmarks.video.eyes import Eyes, WholeDetector
from benchmarks.video.fidelity import fidelity
from edge_client.adaptation.adaptive_policy import AdaptivePolicy
from edge_client.adaptation.controller import ControlSettings
from edge_client.adaptation.point_table import PointTable, build_table
from edge_client.adaptation.policy import Policy
from edge_client.adaptation.profile import DeviceProfile
from edge_client.encoding.encoder import EncoderRuntime
from splitnet.bundle import DeviceBundle, load_device, load_server
from splitnet.detections import Detections
from splitnet.errors import ConfigError
from splitnet.extras import progress
from splitnet.manifest import Manifest
from splitnet.operating_point import LOCAL, Codec, OperatingPoint
from splitnet.settings import DEFAULT_BUNDLE
from training.data.clips import Image, video_frames
from training.evaluation.systems import LocalSystem, local_system

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
TRACES = ("ATT-LTE-driving", "TMobile-UMTS-driving")
CHANGES, WHOLE, STREAMS, IMAGES, ALL, ALONE = "changes", "whole frames", "H.264", "images", "changes or H.264", "local"
POLICIES = (CHANGES, WHOLE, STREAMS, ALL, IMAGES, ALONE)
NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    videos, traces = DATA / "video", DATA / "traces"
    add("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    add("--clips", type=Path, nargs="+", default=sorted(videos.glob("*.mp4")), metavar="FILE", help="any videos")
    default = [traces / f"{name}.up" for name in TRACES]
    add("--traces", type=Path, nargs="+", default=default, metavar="PATH", help="recorded links: their second halves")
    add("--seconds", type=float, default=40.0, metavar="S", help="of each link (%(default)s)")
    add("--deadline-ms", type=float, default=200.0, metavar="MS", help="(%(default)s)")
    add("--fps", type=float, default=10.0, help="frames a second (%(default)s)")
    add("--slowdown", type=float, default=6.0, metavar="X", help="of the device, against this machine (%(default)s)")
    add("--frames", type=int, default=200, help="of each clip, at most; then it begins anew (%(default)s)")
    add("--look-every", type=int, default=2, metavar="N", help="every how many frames are judged (%(default)s)")
    add("--policies", nargs="+", default=POLICIES, choices=POLICIES, metavar="NAME", help="(%(default)s)")
    times = "take the times of an earlier run of `adapt`, where this machine is busy now"
    add("--times", type=Path, metavar="FILE.json", help=times)
    add("--images", type=Path, default=DATA / "coco" / "val2017", metavar="DIR", help="to take times with")


@dataclass(frozen=True)
class Scene:
    """A clip, what is to be found in it, and whoever looks."""

    name: str
    frames: Sequence[Image]
    wanted: Sequence[Detections]  # by the unsplit detector; of frames that are not judged, nothing
    sight: Sight


def run(options: Namespace) -> dict[str, object]:
    """Return a row for every clip, link and policy, and what changes gain on each."""
    if min(options.seconds, options.fps, options.slowdown, options.deadline_ms) <= 0 or options.look_every < 1:
        raise ConfigError("--seconds, --fps, --slowdown, --deadline-ms and --look-every must be positive")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    device = load_device(options.bundle)
    local = local_system(device)
    if device.codec.changes is None or local is None:
        raise ConfigError("the bundle has no tables for changes, or no local detector: nothing to compare")
    times = times_of(options.times) if options.times else measured_here(options.bundle, options.images, [])
    links = [link.trace for link in chosen_links(options.traces, 0.0, options.seconds, False, (), JUDGE)]
    scenes = [_scene(path, options, device, local) for path in options.clips]
    device.encoder.use_onnxruntime(1)
    study = Study(device, times, options.slowdown, options.fps, options.deadline_ms)
    rows = list(_rows(study, scenes, links, options))
    manifest = device.manifest
    return {
        "bundle": f"{manifest.name} {manifest.digest[:12]}",
        "deadline_ms": options.deadline_ms,
        "fps": options.fps,
        "slowdown": options.slowdown,
        "seconds": options.seconds,
        "device": times.to_json()["device"],
        "runs": rows,
        "gains": gains(rows),
    }


@dataclass(frozen=True)
class Study:
    """What all runs share."""

    bundle: DeviceBundle
    times: MachineTimes
    slowdown: float
    fps: float
    deadline_ms: float

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.bundle.manifest

    def encode_ms(self, point: OperatingPoint) -> float:
        """Return the time of a point on this machine; of those that were not timed, that of the bundle's machine."""
        known = self.times.profile.encode_ms
        elsewhere = {one.point: one.encode_ms_p50 for one in (*self.manifest.points, *self.manifest.stream_points)}
        return known[str(point)] if str(point) in known else elsewhere[point]

    def world(self, trace: Trace) -> World:
        """Return the world of a run; sizes come from its camera."""
        local_ms = self.times.profile.local_ms or float("inf")
        device = Device(self.encode_ms, local_ms, self.slowdown)
        seconds = trace.duration_s
        return World(trace, _NoSizes(), device, self.deadline_ms, seconds, self.fps, server_ms=self.times.server_ms)

    def policy(self, name: str) -> Policy:
        """Return one of POLICIES."""
        if name == ALONE:
            return LocalOnlyPolicy()
        return AdaptivePolicy(self._table(name), ControlSettings(self.deadline_ms, has_local=True, in_layers=False))

    def _table(self, name: str) -> PointTable:
        profile = self.times.profile
        encode_ms = {point: ms * self.slowdown for point, ms in profile.encode_ms.items()}
        encode_ms |= {str(p.point): self.encode_ms(p.point) * self.slowdown for p in self.manifest.stream_points}
        local_ms = None if profile.local_ms is None else profile.local_ms * self.slowdown
        mine = DeviceProfile("simulated", self.manifest.digest, encode_ms, local_ms)
        table = build_table(self.manifest, mine, "image" if name == IMAGES else "auto", name in (STREAMS, ALL))
        if name != STREAMS:
            return table
        return replace(table, rows=tuple(row for row in table.rows if row.point.codec is Codec.H264))


class _NoSizes:
    """The sizes of frames that a camera encodes when it is asked."""

    def payload_bytes(self, position: int, point: OperatingPoint) -> int:
        raise AssertionError("a camera encodes")

    def layer_bytes(self, position: int, point: OperatingPoint) -> tuple[int, ...]:
        return ()


def _scene(path: Path, options: Namespace, device: DeviceBundle, local: LocalSystem) -> Scene:
    server = load_server(options.bundle)
    if server.detector is None:
        raise ConfigError("the bundle has no unsplit detector, whose boxes fidelity is about")
    frames = video_frames(path, options.fps, options.frames)
    box = server.manifest.fit(frames[0].shape[1], frames[0].shape[0], server.manifest.widths)
    eyes = Eyes(server, WholeDetector(server.detector, server.manifest.input_size), box)
    wanted = [eyes.image(box.apply(frame)) for frame in progress(frames, unit="frame", desc=path.stem)]
    return Scene(path.stem, frames, wanted, Sight(eyes, local))


def _rows(
    study: Study, scenes: Sequence[Scene], links: Sequence[Trace], options: Namespace
) -> Iterator[dict[str, Any]]:
    runs = [(scene, trace, name) for scene in scenes for trace in links for name in options.policies]
    encoder = EncoderRuntime(study.bundle)
    for scene, trace, name in progress(runs, unit="run"):
        camera = ClipCamera(scene.frames, encoder, builds=name != WHOLE)
        logs = simulate(study.world(trace), study.policy(name), camera)
        yield {
            "clip": scene.name,
            "trace": trace.name,
            "policy": name,
            **_figures(logs, scene, camera, options.look_every),
        }


@torch.inference_mode()
def _figures(logs: Sequence[FrameLog], scene: Scene, camera: ClipCamera, look_every: int) -> dict[str, Any]:
    judged = logs[::look_every]
    found = [_found(log, scene, camera) for log in judged]
    wanted = [scene.wanted[(log.frame_id - 1) % len(scene.frames)] for log in judged]
    sent = [log.payload_bytes for log in logs if log.payload_bytes]
    met = [log for log in logs if log.outcome is Outcome.MET and log.point is not None]
    return {
        "fidelity": round(fidelity(wanted, found), 2),
        "met_share": round(len(met) / len(logs), 4),
        "kilobytes_mean": round(float(np.mean(sent)) / 1000, 3) if sent else 0.0,
        "local_share": round(sum(log.point == LOCAL for log in met) / len(logs), 4),
        "sent": len(sent),
    }


def _found(log: FrameLog, scene: Scene, camera: ClipCamera) -> Detections:
    """Return what was found of a frame in time."""
    if log.outcome is not Outcome.MET or log.point is None:
        return NOTHING
    if log.point == LOCAL:
        return scene.sight.alone(camera.image(log.frame_id))
    return scene.sight.look(camera.received[log.frame_id])


def gains(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each clip and link, what frames as changes gain over each other way, in percent of its fidelity."""
    by_run = {(row["clip"], row["trace"], row["policy"]): row["fidelity"] for row in rows}
    return [
        {"clip": clip, "trace": trace, "over": policy, "gain_percent": round(100 * (ours / theirs - 1), 1)}
        for (clip, trace, policy), theirs in by_run.items()
        if policy != CHANGES and theirs and (ours := by_run.get((clip, trace, CHANGES))) is not None
    ]


SUMMARY = "video that arrives in time: frames as changes, whole frames and H.264 over traces"
BENCHMARK = Benchmark("adapt-video", SUMMARY, _add_arguments, run)
