"""The promises of the rooms: who may import whom, read from the syntax trees and proven in a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Room:
    """A folder and what it promises.

    imports: rooms and modules of ours that it may import, besides itself and the rooms inside it; a room's name stands
    for all that is in it. pure: no clock, no input or output, no log; time comes in as an argument. grpc: it may use
    gRPC itself.
    """

    imports: tuple[str, ...] = ()
    pure: bool = False
    grpc: bool = False


# Nothing climbs back up: where a room uses something of the folder around it, the module is named.
ROOMS = {
    "protos": Room(),
    # What both ends share.
    "splitnet": Room(("protos",), grpc=True),
    "splitnet.codec": Room(("splitnet.errors", "splitnet.image_header", "splitnet.operating_point"), pure=True),
    "splitnet.nn": Room(
        (
            "splitnet.detections",
            "splitnet.errors",
            "splitnet.json_values",
            "splitnet.letterbox",
            "splitnet.onnx_runtime",
            "splitnet.quantiser",
        ),
        pure=True,
    ),
    "splitnet.groups": Room(
        (
            "splitnet.atomic_write",
            "splitnet.bundle",
            "splitnet.codec",
            "splitnet.detections",
            "splitnet.device_package",
            "splitnet.errors",
            "splitnet.json_values",
            "splitnet.letterbox",
            "splitnet.manifest",
            "splitnet.measured_point",
            "splitnet.messages",
            "splitnet.nn",
            "splitnet.regular_file",
        )
    ),
    "splitnet.updates": Room(
        (
            "splitnet.bundle",
            "splitnet.device_package",
            "splitnet.errors",
            "splitnet.json_values",
            "splitnet.manifest",
            "splitnet.package_folder",
            "splitnet.regular_file",
        )
    ),
    "splitnet.http_detection": Room(("splitnet.detections", "splitnet.errors", "splitnet.http_listener")),
    "splitnet.updates.weights": Room(("splitnet.codec", "splitnet.errors"), pure=True),
    "splitnet.outputs": Room(
        (
            "splitnet.backoff",
            "splitnet.detections",
            "splitnet.environment",
            "splitnet.errors",
            "splitnet.extras",
            "splitnet.regular_file",
            "splitnet.settings",
            "splitnet.text",
        )
    ),
    # The device.
    "edge_client": Room(("splitnet",)),
    "edge_client.adaptation": Room(("splitnet", "edge_client.percentiles"), pure=True),
    "edge_client.capture": Room(("splitnet", "edge_client.frames")),
    "edge_client.delivery": Room(("splitnet", "edge_client.frames", "edge_client.threads", "edge_client.transport")),
    "edge_client.encoding": Room(
        ("splitnet", "edge_client.capture", "edge_client.frames", "edge_client.threads", "edge_client.turns")
    ),
    "edge_client.frigate": Room(("splitnet", "edge_client.frames", "edge_client.requests")),
    "edge_client.measuring": Room(
        (
            "splitnet",
            "edge_client.adaptation",
            "edge_client.encoding",
            "edge_client.frames",
            "edge_client.percentiles",
            "edge_client.transport",
        )
    ),
    "edge_client.output": Room(
        (
            "splitnet",
            "edge_client.adaptation",
            "edge_client.camera_name",
            "edge_client.frames",
            "edge_client.percentiles",
        )
    ),
    "edge_client.requests": Room(
        ("splitnet", "edge_client.capture", "edge_client.encoding.local_detector", "edge_client.frames")
    ),
    "edge_client.transport": Room(("splitnet", "protos", "edge_client.frames", "edge_client.threads"), grpc=True),
    # The edge node.
    "cloud_server": Room(("splitnet", "protos"), grpc=True),
    "cloud_server.access": Room(
        (
            "splitnet",
            "protos",
            "cloud_server.config",
            "cloud_server.daemon_thread",
            "cloud_server.floods.flows",
            "cloud_server.scheduling",
        ),
        grpc=True,
    ),
    "cloud_server.cluster": Room(("splitnet", "cloud_server.compute", "cloud_server.config", "cloud_server.engine")),
    "cloud_server.compute": Room(("splitnet", "cloud_server.groups")),
    "cloud_server.delivery": Room(("splitnet", "protos", "cloud_server.access"), grpc=True),
    "cloud_server.fleet": Room(("splitnet",), pure=True),
    "cloud_server.floods": Room(),
    "cloud_server.groups": Room(("splitnet",), pure=True),
    # Knows nothing of engine, sessions and gRPC: what it shows is handed to it.
    "cloud_server.status_page": Room(("splitnet", "cloud_server.fleet")),
    "cloud_server.scheduling": Room(("splitnet",), pure=True),
    # The training.
    "training": Room(("splitnet",)),
    "training.cuts": Room(("splitnet", "training.data", "training.entropy_tables", "training.evaluation")),
    "training.data": Room(("splitnet",)),
    "training.detectors": Room(("splitnet", "training.data", "training.evaluation", "training.loop")),
    "training.distillation": Room(
        (
            "splitnet",
            "training.cuts.components",
            "training.data",
            "training.detectors",
            "training.entropy_tables",
            "training.loop",
        )
    ),
    "training.evaluation": Room(("splitnet", "training.data")),
    "training.groups": Room(
        ("splitnet", "training.cuts.plot", "training.data", "training.entropy_tables", "training.loop")
    ),
    "training.loop": Room(("splitnet",)),
    "training.sharing": Room(
        ("splitnet", "training.cuts.plot", "training.data", "training.detectors", "training.evaluation")
    ),
    "training.updates": Room(("splitnet", "training.data", "training.loop")),
    # The measurements: questions, which know nothing of one another, and a harness.
    "benchmarks": Room(("splitnet",)),
    "benchmarks.accuracy": Room(
        ("splitnet", "benchmarks.harness", "cloud_server.compute", "edge_client.encoding", "training")
    ),
    "benchmarks.adaptation": Room(
        (
            "splitnet",
            "benchmarks.harness",
            "cloud_server.compute",
            "cloud_server.delivery",
            "edge_client",
            "training.evaluation",
        )
    ),
    "benchmarks.adaptive_video": Room(
        ("splitnet", "benchmarks.adaptation", "benchmarks.harness", "benchmarks.video", "edge_client", "training")
    ),
    "benchmarks.costs": Room(("splitnet", "benchmarks.harness", "edge_client", "training")),
    "benchmarks.groups": Room(
        (
            "splitnet",
            "benchmarks.harness",
            "cloud_server.groups",
            "edge_client.percentiles",
            "training.data",
            "training.evaluation",
            "training.groups",
        )
    ),
    "benchmarks.harness": Room(("splitnet",)),
    "benchmarks.serving": Room(
        (
            "splitnet",
            "benchmarks.harness",
            "cloud_server.access",
            "cloud_server.cluster.scaling",
            "cloud_server.compute",
            "cloud_server.config",
            "cloud_server.fleet",
            "cloud_server.scheduling",
            "cloud_server.status_page",
            "cloud_server.tunings",
            "edge_client.percentiles",
            "edge_client.transport",
        ),
        grpc=True,
    ),
    "benchmarks.sharing": Room(("splitnet", "benchmarks.harness", "training")),
    "benchmarks.updates": Room(("splitnet", "benchmarks.harness", "training")),
    "benchmarks.video": Room(
        (
            "splitnet",
            "benchmarks.harness",
            "edge_client.encoding",
            "edge_client.frames",
            "edge_client.output.motion",
            "training.data",
            "training.detectors.family",
        )
    ),
    # Starts the two commands as processes, as a user does.
    "demo": Room(("splitnet", "benchmarks.harness")),
}
# Pure modules of rooms that are not.
PURE_MODULES = {
    "cloud_server.delivery.rollout",
    "edge_client.delivery.pacing",
    "edge_client.delivery.trial",
    "cloud_server.cluster.breaker",
    "cloud_server.cluster.scaling",
    "cloud_server.access.budgets",
    "cloud_server.floods.flood_rule",
    "cloud_server.floods.flows",
    "cloud_server.floods.source_filter",
    "splitnet.dominated",
    "splitnet.enrolment_link",
    "splitnet.fidelity",
    "splitnet.image_header",
    "splitnet.json_values",
    "splitnet.http_detection.predictions",
    "splitnet.outputs.change_feed",
    "splitnet.outputs.discovery",
    "splitnet.outputs.outbox",
    "splitnet.outputs.reports",
    "splitnet.outputs.retry_queue",
    "splitnet.outputs.topics",
    "splitnet.outputs.tracker",
    "splitnet.outputs.zones",
    "splitnet.text",
    "splitnet.updates.artefact",
    "splitnet.updates.delivery",
    "splitnet.updates.route",
    "splitnet.backoff",
    "edge_client.frames",
    "edge_client.frigate.messages",
    "edge_client.frigate.settings_text",
    "edge_client.frigate.tensors",
    "edge_client.percentiles",
    "edge_client.transport.servers",
    "training.data.augment",
    "training.data.data_problems",
    "training.data.mosaic",
    "training.detectors.cost",
    "training.detectors.efficientdet.losses",
    "training.detectors.yolox.batch_norm",
    "training.detectors.yolox.losses",
    "training.detectors.yolox.simota",
    "training.evaluation.equal_accuracy",
    "training.groups.partition",
    "training.groups.replication",
    "training.sharing.moments",
    "training.sharing.ridge",
    "training.sharing.search",
    "training.sharing.similarity",
    "benchmarks.accuracy.kinds_figures",
    "benchmarks.accuracy.kinds_tables",
    "benchmarks.groups.device_tables",
    "benchmarks.harness.rate_curve",
    "benchmarks.adaptation.shaping",
    "benchmarks.harness.token_bucket",
    "benchmarks.sharing.correlations",
    "benchmarks.sharing.sharing_figures",
    "benchmarks.sharing.sharing_tables",
    "benchmarks.updates.drift",
    "benchmarks.updates.masks",
    "benchmarks.updates.quantising",
    "benchmarks.updates.sealing",
    "benchmarks.updates.update_figures",
    "benchmarks.updates.update_tables",
    "benchmarks.harness.bootstrap",
    "benchmarks.video.video_figures",
}
IMPURE = {
    *("datetime", "random", "secrets", "time"),
    *("io", "logging", "os", "pathlib", "psutil", "shutil", "sqlite3", "sys", "tempfile"),
    *("grpc", "select", "socket", "urllib"),
    *("asyncio", "multiprocessing", "signal", "subprocess", "threading"),
}
# What a pure module may have all the same.
EXEMPT = {
    "edge_client.adaptation.adaptive_policy": {"threading"},  # a lock
    "edge_client.adaptation.shared_link": {"threading"},  # the same
    "splitnet.codec.references": {"threading"},  # a lock
    "splitnet.codec.h264": {"threading"},  # the same
    "splitnet.nn.nanodet.onnx_reader": {"pathlib"},  # reads a file
    "splitnet.nn.yolox.onnx_reader": {"pathlib"},  # reads a file
}
# What puts the client together: none of these knows one that comes after it.
ASSEMBLY = tuple(
    f"edge_client.{part}" for part in ("frames", "ledger", "uplink", "pipeline", "camera_group", "build", "__main__")
)
# Where the generated messages stop.
USE_MESSAGES = {
    "splitnet.delivery_wire",
    "edge_client.transport.delivery",
    "cloud_server.delivery.delivery_service",
    *(f"splitnet.wire.{part}" for part in ("answers", "codecs", "device_status", "enrolment")),
    *(f"splitnet.wire.{part}" for part in ("frames", "openings", "sessions")),
    "edge_client.transport.enrolment",
    "edge_client.transport.session",
    "cloud_server.access.enrolment_service",
    "cloud_server.server",
    "cloud_server.service",
    "cloud_server.session",
}
# Run as processes of their own.
COMMANDS = {
    "protos.generate",
    "benchmarks.harness.delay_relay",
    "benchmarks.harness.cpu_load",
    "benchmarks.serving.attacks",
    "cloud_server.cluster.connector",
    "demo.clip",
}


def is_in(name: str, place: str) -> bool:
    """Return whether a module, or something in it, is in a room or a module."""
    return f"{name}.".startswith(f"{place}.")


def room_of(name: str) -> str:
    """Return the innermost room of a module."""
    return max((room for room in ROOMS if is_in(name, room)), key=len)


def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of ours but the generated ones, by its dotted name."""
    packages = [name for name in ROOMS if "." not in name]
    paths = [path.relative_to(PROJECT) for package in packages for path in sorted((PROJECT / package).rglob("*.py"))]
    written = [path for path in paths if "_pb2" not in path.name]
    return {".".join(path.with_suffix("").parts): ast.parse((PROJECT / path).read_text("utf-8")) for path in written}


def imports_of(name: str) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, at its top or inside a function."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def ours_of(name: str) -> set[str]:
    """Return what a module imports of ours."""
    return {imported for imported in imports_of(name) if imported.partition(".")[0] in {*ROOMS, "tests"}}


def roots_of(name: str) -> set[str]:
    """Return the packages that a module imports."""
    return {imported.partition(".")[0] for imported in imports_of(name)}


def names_called(name: str) -> set[str]:
    """Return the plain names and the dotted ones that a module calls."""
    calls = [node.func for node in ast.walk(MODULES[name]) if isinstance(node, ast.Call)]
    return {ast.unparse(call) for call in calls if isinstance(call, ast.Name | ast.Attribute)}


MODULES = modules()
PURE = PURE_MODULES | {name for name in MODULES if ROOMS[room_of(name)].pure}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_what_it_may_and_nothing_else(room):
    may = (room, *ROOMS[room].imports)
    own = [(name, one) for name in MODULES if room_of(name) == room for one in ours_of(name)]
    assert [f"{name} imports {one}" for name, one in own if not any(is_in(one, place) for place in may)] == []


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_uses_all_that_it_may_import(room):
    imported = {one for name in MODULES if is_in(name, room) for one in ours_of(name)}
    assert [place for place in ROOMS[room].imports if not any(is_in(one, place) for one in imported)] == []


def test_the_client_is_put_together_in_one_order():
    known = {
        one: [later for later in ASSEMBLY[i + 1 :] for own in ours_of(one) if is_in(own, later)]
        for i, one in enumerate(ASSEMBLY)
    }
    assert known == {one: [] for one in ASSEMBLY}


def test_grpc_stays_in_its_rooms():
    rooms = {room_of(name) for name in MODULES if "grpc" in roots_of(name)}
    assert rooms == {room for room, promise in ROOMS.items() if promise.grpc}


def test_generated_messages_stop_at_the_border():
    assert {name for name in MODULES if "protos" in roots_of(name)} == USE_MESSAGES


def test_pure_modules_know_neither_clock_nor_input_nor_log():
    known = {name: roots_of(name) & IMPURE | names_called(name) & {"open"} for name in sorted(PURE)}
    assert {name: found for name, found in known.items() if found} == EXEMPT


def test_onnx_runtime_comes_in_by_its_door_only():  # or it would phone home
    assert [name for name in MODULES if "onnxruntime" in imports_of(name)] == ["splitnet.onnx_runtime"]


def test_package_files_are_empty():
    assert [name for name, tree in MODULES.items() if name.endswith("__init__") and tree.body] == []


def test_only_main_parses_arguments_prints_and_exits():
    silent = [name for name in MODULES if not name.endswith("__main__") and name not in COMMANDS]
    forbidden = {"print", "sys.exit", "argparse.ArgumentParser"}
    assert [name for name in silent if names_called(name) & forbidden] == []


def test_the_client_drags_nothing_in_that_a_device_does_not_need():
    unwanted = ("cloud_server", "training", "benchmarks", "demo", "matplotlib", "onnx", "skimage", "torch", "numba")
    commands = "edge_client.__main__, edge_client.run_command, edge_client.profile_command"
    probe = f"import sys, {commands}; print([m for m in sys.modules if m.partition('.')[0] in {unwanted}])"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_servers_help_drags_in_no_library_that_takes_seconds():
    unwanted = {"torch", "grpc", "numpy", "cv2", "asyncio"}
    probe = f"import sys, cloud_server.__main__; print({unwanted} & sys.modules.keys())"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_a_loaded_bundle_drags_in_no_training_either(tiny_bundle):
    unwanted = ("cloud_server", "training", "benchmarks", "demo", "matplotlib", "onnx", "skimage")
    probe = (
        "import sys; from pathlib import Path; from edge_client.encoding.encoder import load_encoder\n"
        "sys.modules['onnxruntime'] = None\n"  # as on a device that does not have it
        f"load_encoder(Path({str(tiny_bundle)!r}), 'cpu', 1, 'auto')\n"
        f"print([m for m in sys.modules if m.partition('.')[0] in {unwanted}])"
    )
    ran = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
