"""Ranges in setup.cfg and pins in constraints.txt: each package has one pin in its range, on every Python."""

from __future__ import annotations

import configparser

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import PROJECT

TYPES_AND_BUILD = {"grpcio-tools"}  # pinned where it is used: protos/generate.py
ENVIRONMENTS = [
    {"python_version": python, "platform_machine": machine, "sys_platform": "linux"}
    for python in ("3.10", "3.11", "3.12", "3.13")
    for machine in ("x86_64", "aarch64")
]


def requirements() -> list[Requirement]:
    """Return what the project and all its extras ask for."""
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(PROJECT / "setup.cfg")
    texts = [setup["options"]["install_requires"], *setup["options.extras_require"].values()]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "%"))]


def pins() -> list[Requirement]:
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def holds(requirement: Requirement, environment: dict[str, str]) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize(
    "environment", ENVIRONMENTS, ids=lambda one: f"{one['python_version']}-{one['platform_machine']}"
)
def test_every_package_has_one_pin_in_its_range(environment):
    pinned: dict[str, list[str]] = {}
    for pin in pins():
        if holds(pin, environment):
            pinned.setdefault(canonicalize_name(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    assert {name: versions for name, versions in pinned.items() if len(versions) > 1} == {}
    for needed in requirements():
        name = canonicalize_name(needed.name)
        if holds(needed, environment) and name not in TYPES_AND_BUILD:
            assert name in pinned, f"{name} has no pin"
            assert needed.specifier.contains(pinned[name][0]), f"{needed} is not met by {pinned[name][0]}"


def test_torch_on_arm64_runs_without_the_instructions_of_armv8_1():
    (arm,) = (
        needed
        for needed in requirements()
        if needed.name == "torch" and holds(needed, {**ENVIRONMENTS[0], "platform_machine": "aarch64"})
    )
    assert not arm.specifier.contains("2.4.0")
    assert arm.specifier.contains("2.4.1")
    assert arm.specifier.contains("2.9.1")
    assert not arm.specifier.contains("2.10.0")


def test_a_small_device_installs_what_the_others_do_but_what_is_large():
    lines = (PROJECT / "deploy" / "device-requirements.txt").read_text().splitlines()
    small = {Requirement(line).name for line in lines if line and not line.startswith("#")}
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(PROJECT / "setup.cfg")
    base = {Requirement(line).name for line in setup["options"]["install_requires"].splitlines() if line}
    assert small == base - {"torch", "numba"} | {"onnxruntime", "prometheus-client"}
