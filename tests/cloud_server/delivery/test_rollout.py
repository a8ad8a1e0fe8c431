"""Who is offered what: shares, groups, limits, pauses, and devices that have failed."""

from __future__ import annotations

import pytest

from cloud_server.delivery.rollout import ABORTED, PAUSED, KnownDevice, Plan, Rollout, check_audience, is_in
from splitnet.errors import ConfigError
from splitnet.updates.delivery import DeviceState, Offer, Phase
from tests.support.artefacts import digest

OLD, NEW = digest("old"), digest("new")
SERVED = frozenset({OLD, NEW})


def rollout(version: int = 2, audience: str = "all", concurrent: int = 0, state: str = "active") -> Rollout:
    return Rollout(version, "tiny", NEW, audience, concurrent, 3, state)


def state(name: str = "one", phase: Phase = Phase.IDLE, target: str = "", version: int = 1) -> DeviceState:
    return DeviceState(name, ("torch",), NEW if version > 1 else OLD, version, phase, target)


def plan(*rollouts: Rollout, devices=None, groups=None, served=SERVED, initial=None) -> Plan:
    return Plan(rollouts, devices or {}, groups or {}, served, initial or {})


def test_a_device_is_offered_what_is_published():
    assert plan(rollout()).offer(state()) == Offer(2, True, "tiny")


def test_and_nothing_once_it_has_it():
    assert plan(rollout()).offer(state(version=2)) == Offer(0, True)


def test_nor_what_this_server_does_not_serve():
    assert plan(rollout(), served=frozenset({OLD})).offer(state()) == Offer(0, True)


def test_the_newest_of_several_goes_first():
    assert plan(rollout(2), rollout(5), rollout(3)).offer(state()).version == 5


def test_a_share_takes_the_same_devices_and_more_of_them_when_it_grows():
    names = [f"camera-{i}" for i in range(1000)]
    tenth = {name for name in names if is_in("10%", name, (), "tiny")}
    half = {name for name in names if is_in("50%", name, (), "tiny")}
    assert 70 < len(tenth) < 130 and 430 < len(half) < 570 and tenth < half
    assert all(is_in("100%", name, (), "tiny") for name in names)


def test_a_group_is_its_devices():
    groups = {"one": frozenset({"yard"})}
    assert plan(rollout(audience="yard"), groups=groups).offer(state("one")).version == 2
    assert plan(rollout(audience="yard"), groups=groups).offer(state("two")).version == 0


def test_no_more_devices_than_allowed_change_at_once():
    busy = KnownDevice(state("one", Phase.DOWNLOADING, "2-tiny.torch.bundle"), 0.0, offered=2)
    done = KnownDevice(state("one", version=2), 0.0, offered=2)
    failed = KnownDevice(state("one", Phase.ROLLED_BACK, "2-tiny.torch.bundle"), 0.0, offered=2)
    limited = rollout(concurrent=1)
    assert plan(limited, devices={"one": busy}).offer(state("two")).version == 0
    assert plan(limited, devices={"one": busy}).offer(busy.state).version == 2  # it goes on
    assert plan(limited, devices={"one": done}).offer(state("two")).version == 2
    assert plan(limited, devices={"one": failed}).offer(state("two")).version == 2


def test_a_pause_lets_a_trial_go_on_but_nobody_begin():
    paused = rollout(state=PAUSED)
    assert plan(paused).offer(state()) == Offer(0, True)
    tried = state(phase=Phase.TRIAL, target="2-tiny.torch.bundle")
    assert plan(paused).offer(tried) == Offer(2, True, "tiny", is_halted=True)


def test_an_abort_takes_a_trial_back():
    tried = state(phase=Phase.TRIAL, target="2-tiny.torch.bundle")
    assert plan(rollout(state=ABORTED)).offer(tried).version == 0


@pytest.mark.parametrize("phase", [Phase.ROLLED_BACK, Phase.REFUSED])
def test_a_device_that_has_failed_is_not_asked_again(phase):
    failed = state(phase=phase, target="2-tiny.torch.bundle")
    assert plan(rollout()).offer(failed).version == 0
    known = {"one": KnownDevice(failed, 0.0, 2)}
    assert plan(rollout(), devices=known).offer(state()).version == 0
    assert plan(rollout(), rollout(3), devices=known).offer(state()).version == 3


def test_a_device_with_nothing_gets_something_without_a_rollout():
    nothing = DeviceState("one", ("torch",))
    assert plan(initial={"torch": (4, "tiny")}).offer(nothing) == Offer(4, False, "tiny")
    assert plan(initial={"onnx": (4, "tiny")}).offer(nothing) == Offer(0, False)


def test_a_device_that_runs_the_content_already_is_left_alone():
    assert plan(rollout()).offer(DeviceState("one", ("torch",), NEW, 0)) == Offer(0, True)


@pytest.mark.parametrize("text", ["", "0%", "101%", "%", "-1%", "a b", "../x", "1e2%"])
def test_an_audience_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--to takes"):
        check_audience(text)


@pytest.mark.parametrize("text", ["all", "yard-2", "10%", "0.5%", "100%"])
def test_an_audience_is_taken(text):
    assert check_audience(text) == text
