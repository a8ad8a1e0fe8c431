"""Who may import whom: the rules of the layout, read from the syntax trees and proven in a process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent

ALLOWED = {  # package: the packages of ours that it may import, besides itself
    "protos": set(),
    "splitnet": {"protos"},
    "edge_client": {"splitnet", "protos"},
    "cloud_server": {"splitnet", "protos"},
    "training": {"splitnet"},
    "benchmarks": {"splitnet", "edge_client", "cloud_server", "training", "protos"},
    # The demo starts the two commands as processes, as a user does.
    "demo": {"splitnet", "benchmarks"},
}
MAY_USE_MESSAGES = {"splitnet.wire", "edge_client.transport.session", "cloud_server.service", "cloud_server.server"}
PURE = {
    "splitnet.codec.rans",
    "splitnet.codec.rans_reference",
    "splitnet.codec.bitstream",
    "splitnet.codec.entropy_model",
    "splitnet.codec.byte_cap",
    "splitnet.codec.contexts",
    "splitnet.codec.table_fit",
    "splitnet.nn.efficientdet.anchors",
    "splitnet.nn.suppression",
    "splitnet.nn.yolox.boxes",
    "edge_client.backoff",
    "edge_client.transport.servers",
    "edge_client.percentiles",
    "edge_client.adaptation.policy",
    "edge_client.adaptation.capacity",
    "edge_client.adaptation.round_trip",
    "edge_client.adaptation.link",
    "edge_client.adaptation.recent_values",
    "edge_client.adaptation.point_table",
    "edge_client.adaptation.prediction",
    "edge_client.adaptation.controller",
    "benchmarks.accuracy.kinds_figures",
    "benchmarks.accuracy.kinds_tables",
    "benchmarks.accuracy.rate_curve",
    "benchmarks.adaptation.shaping",
    "benchmarks.harness.token_bucket",
    "training.detectors.yolox.simota",
    "training.data.augment",
    "training.detectors.yolox.batch_norm",
    "training.detectors.cost",
    "training.detectors.yolox.losses",
    "training.evaluation.dominated",
    "training.data.data_problems",
    "training.detectors.efficientdet.losses",
    "training.data.mosaic",
}
PURE_ROOMS = ("cloud_server.scheduling",)  # every module in them
# Run as processes of their own.
COMMANDS = {
    "protos.generate",
    "benchmarks.harness.delay_relay",
    "benchmarks.harness.cpu_load",
}
IMPURE_MODULES = {"time", "logging", "socket", "os", "random", "asyncio", "threading", "subprocess", "datetime"}


def modules() -> dict[str, Path]:
    """Return every module of ours but the tests, by its dotted name."""
    paths = [path for package in ALLOWED for path in sorted((PROJECT / package).rglob("*.py"))]
    return {".".join(path.relative_to(PROJECT).with_suffix("").parts): path for path in paths}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted name of everything a module imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = modules()
WRITTEN = sorted(name for name in MODULES if "_pb2" not in name)


def roots_of(name: str) -> set[str]:
    return {imported.partition(".")[0] for imported in imports_of(MODULES[name])}


@pytest.mark.parametrize("name", WRITTEN)
def test_a_package_imports_only_those_below_it(name):
    package = name.partition(".")[0]
    ours = roots_of(name) & ALLOWED.keys() - {package}
    assert ours <= ALLOWED[package]
    assert "tests" not in roots_of(name)


@pytest.mark.parametrize("name", WRITTEN)
def test_generated_messages_stop_at_the_border(name):
    if name in MAY_USE_MESSAGES or name.startswith("protos."):
        return
    assert not [imported for imported in imports_of(MODULES[name]) if "_pb2" in imported and "protos" in imported]


def in_pure_rooms() -> set[str]:
    return {name for name in MODULES if name.rpartition(".")[0] in PURE_ROOMS}


@pytest.mark.parametrize("name", sorted((PURE & MODULES.keys()) | in_pure_rooms()))
def test_pure_modules_know_neither_clock_nor_input_nor_log(name):
    assert not roots_of(name) & IMPURE_MODULES


@pytest.mark.parametrize("name", [name for name in WRITTEN if name != "splitnet.onnx_runtime"])
def test_onnx_runtime_comes_in_by_its_door_only(name):
    assert "onnxruntime" not in set(imports_of(MODULES[name]))  # it would phone home


@pytest.mark.parametrize("name", [name for name in WRITTEN if name.endswith("__init__")])
def test_package_files_are_empty(name):
    assert MODULES[name].read_text() == ""


@pytest.mark.parametrize("name", [name for name in WRITTEN if not name.endswith("__main__") and name not in COMMANDS])
def test_only_main_parses_arguments_prints_and_exits(name):
    calls = [node.func for node in ast.walk(ast.parse(MODULES[name].read_text())) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    attributes = {ast.unparse(call) for call in calls if isinstance(call, ast.Attribute)}
    assert "print" not in names
    assert not attributes & {"sys.exit", "argparse.ArgumentParser"}


def test_the_client_drags_nothing_in_that_a_device_does_not_need():
    unwanted = ("cloud_server", "training", "benchmarks", "demo", "matplotlib", "onnx", "skimage", "torch", "numba")
    probe = f"import sys, edge_client.__main__; print([m for m in sys.modules if m.partition('.')[0] in {unwanted}])"
    ran = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


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
