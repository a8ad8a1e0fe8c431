"""The record of machine and commit beside every figure."""

import json
import platform
import sys
from pathlib import Path

import pytest

from splitnet.environment import commit, environment, machine, processor


def test_the_record_is_json_and_names_commit_and_machine() -> None:
    record = json.loads(json.dumps(environment()))
    assert set(record) == {"commit", "machine"}
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["architecture"] == platform.machine()


def test_a_machine_without_pytorch_has_a_record_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    record = machine()
    assert (record["torch"], record["accelerator"]) == (None, None)


def test_the_processor_has_a_name() -> None:
    assert processor().strip()


X86 = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Xeon(R) @ 2.50GHz\n\n" * 2
ARM_CORE = "processor\t: {}\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU part\t: {}\n\n"
BIG_LITTLE = ARM_CORE.format(0, "0xd05") + ARM_CORE.format(1, "0xd0a") + ARM_CORE.format(2, "0xd05")


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"cpuinfo": X86}, "Xeon(R) @ 2.50GHz"),
        ({"device-tree/model": "Raspberry Pi 4: B\0", "cpuinfo": ARM_CORE.format(0, "0xd08")}, "Raspberry Pi 4: B"),
        ({"cpuinfo": ARM_CORE.format(0, "0xd08") + "Model\t\t: Raspberry Pi 4\n"}, "Raspberry Pi 4"),
        ({"cpuinfo": ARM_CORE.format(0, "0xd08")}, "implementer 0x41 part 0xd08"),
        ({"cpuinfo": BIG_LITTLE}, "implementer 0x41 part 0xd05 0xd0a"),
        ({}, "unknown"),
    ],
    ids=["x86", "device tree", "a Pi's container", "a container", "two kinds of cores", "nothing"],
)
def test_boards_are_told_apart_by_what_the_kernel_says(tmp_path, monkeypatch, files, name):
    monkeypatch.setattr(platform, "processor", str)
    (tmp_path / "device-tree").mkdir()
    for file, text in files.items():
        (tmp_path / file).write_text(text)
    assert processor(tmp_path) == name


def test_the_record_tells_no_host_and_no_path() -> None:
    text = json.dumps(machine())
    assert str(Path.home()) not in text
    assert platform.node() not in text or len(platform.node()) < 4


def test_a_checkout_names_its_commit() -> None:
    revision = commit().removesuffix("-modified")
    assert revision == "unknown" or (len(revision) == 40 and set(revision) <= set("0123456789abcdef"))
