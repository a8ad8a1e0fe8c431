"""A bundle's package for devices without PyTorch: the same bytes, and a clear word where it is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

import cloud_server.__main__
from edge_client.build import build_pipeline
from edge_client.config import RunConfig
from edge_client.encoding.encoder import load_encoder
from splitnet.bundle import load_device, load_server
from splitnet.device_package import TABLES_FILE, load_package, read_package_manifest
from splitnet.errors import BundleError, ConfigError, DigestMismatchError
from splitnet.operating_point import Codec, OperatingPoint
from splitnet.package_export import export_package
from splitnet.package_folder import DEVICE_FILE
from splitnet.synthetic_images import synthetic_images
from tests.conftest import PROJECT
from tests.support.two_frames import payloads

(IMAGE,) = synthetic_images(1)


@pytest.fixture(scope="module")
def package(tiny_bundle, tmp_path_factory):
    out = tmp_path_factory.mktemp("package")
    export_package(tiny_bundle, out)
    return out


def test_a_package_says_what_its_bundle_says(package, tiny_bundle):
    ours, theirs = read_package_manifest(package), load_device(tiny_bundle).manifest
    for name in ("name", "digest", "device_digest", "class_names", "sides", "qualities", "points", "latent_size"):
        assert getattr(ours, name) == getattr(theirs, name)
    for width in range(theirs.widths + 1):
        assert ours.fit(640, 480, width) == theirs.fit(640, 480, width)


def test_a_package_encodes_to_the_bytes_of_its_bundle_by_onnx_runtime(package, tiny_bundle):
    full, small = load_encoder(tiny_bundle, "cpu", 1, "onnxruntime"), load_encoder(package, "cpu", 1, "auto")
    assert small.backend == "onnxruntime"
    for width in range(1, full.manifest.widths + 1):
        for quality in (0, full.manifest.qualities - 1):
            point = OperatingPoint(Codec.RANS, width, quality)
            assert small.encode(IMAGE, point).payload == full.encode(IMAGE, point).payload
            assert small.mmacs(width, (640, 480)) == pytest.approx(full.mmacs(width, (640, 480)), rel=0.05)


def test_a_server_of_the_bundle_decodes_what_a_package_encodes(package, tiny_bundle):
    server, small = load_server(tiny_bundle), load_package(package, 1)
    manifest = server.manifest
    canvas = manifest.fit(IMAGE.shape[1], IMAGE.shape[0], 1).apply(IMAGE)
    symbols = small.encoder.quantise(small.encoder.latent(canvas, 1), 1, 0)
    payload = small.codec.compress(symbols, 1, 0)
    assert np.array_equal(server.codec.decompress(payload)[1], symbols)


def test_a_package_makes_the_same_bytes_where_there_is_neither_pytorch_nor_numba(package):
    missing = ["torch", "onnx", "numba"]
    command = [sys.executable, "-m", "tests.support.two_frames", str(package), *missing]
    ran = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == payloads(package)


def test_a_whole_client_is_put_together_where_there_is_neither_pytorch_nor_numba(package, tmp_path):
    assert cv2.imwrite(str(tmp_path / "frame.png"), IMAGE)
    probe = (
        "import sys\n"
        "sys.modules |= {name: None for name in ('torch', 'onnx', 'numba')}\n"
        "from pathlib import Path\n"
        "from edge_client.build import build_pipeline\n"
        "from edge_client.config import RunConfig\n"
        f"config = RunConfig(server='127.0.0.1:1', source={str(tmp_path)!r}, bundle=Path({str(package)!r}))\n"
        "print(type(build_pipeline(config)).__name__)"
    )
    ran = subprocess.run([sys.executable, "-c", probe], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "Pipeline", ran.stderr


def test_every_command_of_a_client_runs_where_there_is_no_pytorch(package, tmp_path):
    """Commands load what they need when they run; so each one is run, as far as one can without a server."""
    probe = (
        "import sys\n"
        "sys.modules |= {name: None for name in ('torch', 'onnx', 'numba')}\n"
        "from pathlib import Path\n"
        "import edge_client.enrol_command, edge_client.http_command, edge_client.run_command\n"
        "from edge_client.__main__ import main\n"
        "from edge_client.encoding.encoder import load_encoder\n"
        "from edge_client.measuring.link_probe import probe_frames\n"
        "from splitnet.synthetic_images import synthetic_images\n"
        f"package = {str(package)!r}\n"
        "assert main(['frigate', '--print-config', '--server', 'a:1', '--bundle', package]) == 0\n"
        "assert main(['profile', '--frames', '1', '--seconds', '0.1', '--bundle', package]) == 0\n"
        "assert probe_frames(load_encoder(Path(package), 'cpu', 1, 'auto'), *synthetic_images(1))"
    )
    home = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", probe], cwd=PROJECT, env=home, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert "detectors:" in ran.stdout and "w1" in ran.stdout


def test_a_device_without_numba_sends_no_layers(package, monkeypatch):
    monkeypatch.setattr("splitnet.codec.feature_codec.COMPILES", False)
    assert load_package(package, 1).codec.layered is None
    monkeypatch.setattr("edge_client.build.COMPILES", False)
    with pytest.raises(ConfigError, match=r"--in-layers needs .* pip install numba"):
        build_pipeline(RunConfig(server="edge-node:50051", source="0", bundle=package, in_layers=True))


def test_without_pytorch_a_bundle_says_what_to_do(tiny_bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match="cloud-server deliver"):
        load_encoder(tiny_bundle, "cpu", 1)


@pytest.mark.parametrize("options", [("cuda", "auto"), ("cpu", "torch")])
def test_a_package_has_one_back_end(package, options):
    device, backend = options
    with pytest.raises(ConfigError, match="a package for ONNX Runtime"):
        load_encoder(package, device, 1, backend)


def copied(package, tmp_path):
    for path in package.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", [TABLES_FILE, "encoder-1.onnx"])
def test_a_file_that_is_missing_or_another_one_is_named(name, package, tmp_path):
    folder = copied(package, tmp_path)
    (folder / name).write_bytes(b"other")
    with pytest.raises(DigestMismatchError, match=name):
        load_package(folder, 1)
    (folder / name).unlink()
    with pytest.raises(BundleError, match="copy the package again"):
        load_package(folder, 1)


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"sides": [64]},
        {"models": ["../encoder.onnx"]},
        {"files": {}},
        {"qualities": 0},
        {"name": "\x1b[2J"},
        {"points": [{"mode": "split"}]},
        {"sides": "none"},
        {"mmacs_per_pixel": [1e999]},
    ],
    ids=str,
)
def test_a_description_that_cannot_be_is_refused(change, package, tmp_path):
    folder = copied(package, tmp_path)
    values = json.loads((folder / DEVICE_FILE).read_text())
    (folder / DEVICE_FILE).write_text(json.dumps(values | change))
    with pytest.raises(BundleError, match="make the package again"):
        read_package_manifest(folder)


def test_the_command_makes_a_package(tiny_bundle, tmp_path, capsys):
    assert cloud_server.__main__.main(["deliver", str(tiny_bundle), "--out", str(tmp_path / "own")]) == 0
    assert "copy it to the devices" in capsys.readouterr().out
    assert load_package(tmp_path / "own", 1).manifest.widths > 0
