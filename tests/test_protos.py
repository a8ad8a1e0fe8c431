"""The generated code is that of the .proto files, and no newer than the floors in setup.cfg."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from importlib import import_module

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from protos.generate import GENERATOR, GENERATOR_FOLDER, PROTOS, generate, import_from_package
from tests.conftest import PROJECT

SOURCES = sorted(PROTOS.glob("*.proto"))


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def floor(package: str) -> tuple[int, ...]:
    config = configparser.ConfigParser()
    config.read(PROJECT / "setup.cfg")
    found = re.search(rf"^{package}>=([\d.]+)", config["options"]["install_requires"], re.MULTILINE)
    assert found, f"setup.cfg has no floor for {package}"
    return version(found[1])


def without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """Return the file as its own descriptor describes it: json_name is written only by protoc."""
    for message in file.message_type:
        for field in message.field:
            field.ClearField("json_name")
    return file


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_committed_messages_are_those_of_the_proto(source, tmp_path):
    """Holds with any generator's version: it compares descriptors, not text."""
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed")
    out = tmp_path / "descriptors"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"--descriptor_set_out={out}"]
    subprocess.run([*command, source.name], check=True, cwd=tmp_path)
    committed = FileDescriptorProto()
    import_module(f"protos.{source.stem}_pb2").DESCRIPTOR.CopyToProto(committed)
    (fresh,) = FileDescriptorSet.FromString(out.read_bytes()).file
    assert without_json_names(committed) == without_json_names(fresh)


def test_committed_files_are_reproduced_byte_for_byte(tmp_path):
    if not GENERATOR_FOLDER.is_dir():
        pytest.skip(f"{GENERATOR} is not in {GENERATOR_FOLDER}: run `make protos` once")
    written = generate(tmp_path)
    committed = {path.name for path in PROTOS.glob("*_pb2*.py*")}
    assert {path.name for path in written} == committed
    for path in written:
        assert path.read_bytes() == (PROTOS / path.name).read_bytes(), f"{path.name}: run `make protos`"


@pytest.mark.parametrize("path", sorted(PROTOS.glob("*_pb2.py")), ids=lambda path: path.stem)
def test_messages_run_on_the_lowest_protobuf_allowed(path):
    stamp = re.search(r"^# Protobuf Python Version: ([\d.]+)", path.read_text(), re.MULTILINE)
    assert stamp and version(stamp[1]) <= floor("protobuf")


@pytest.mark.parametrize("path", sorted(PROTOS.glob("*_pb2_grpc.py")), ids=lambda path: path.stem)
def test_stubs_run_on_the_lowest_grpcio_allowed(path):
    stamp = re.search(r"^GRPC_GENERATED_VERSION = '([\d.]+)'", path.read_text(), re.MULTILINE)
    assert stamp and version(stamp[1]) <= floor("grpcio")


def test_imports_of_our_own_messages_name_the_package():
    code = "import grpc\nimport split_inference_pb2 as split__inference__pb2\n"
    assert import_from_package(code) == (
        "import grpc\nfrom protos import split_inference_pb2 as split__inference__pb2\n"
    )


def test_imports_are_made_from_the_package_only_once():
    once = import_from_package("import a_pb2 as a__pb2\n")
    assert import_from_package(once) == once
