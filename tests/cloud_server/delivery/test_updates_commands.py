"""The commands `keys`, `bundle list`, `publish` and `rollout`: what they say, and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_server.__main__ import main
from cloud_server.delivery.fleet_store import FleetStore
from splitnet.updates.delivery import DeviceState, Phase
from tests.support.fleet import Fleet, new_fleet

Tell = Callable[..., str]


@pytest.fixture
def fleet(tmp_path, tiny_bundle) -> Fleet:
    """Return a fleet with two signed versions."""
    one = new_fleet(tmp_path)
    for version in (1, 2):
        one.sign_half(tiny_bundle, version)
    return one


@pytest.fixture
def tell(tmp_path, capsys) -> Tell:
    """Return what runs a command on the fleet's folder, and returns what it prints."""

    def run(*words: object, code: int = 0) -> str:
        folders = ["--updates", str(tmp_path / "updates")]
        if words[0] == "keys" and words[1] != "show":
            folders += ["--keys", str(tmp_path / "keys")]
        assert main([*map(str, words), *folders]) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return run


def heard(fleet: Fleet, **states: DeviceState) -> None:
    """Let the server hear of devices, as ones that were offered version 2."""
    FleetStore(fleet.repository.path).note({name: (state, 2) for name, state in states.items()}, 5.0)


def state(version: int, phase: Phase = Phase.COMMITTED, **changed: Any) -> DeviceState:
    return DeviceState("one", ("torch",), "ab" * 32, version, phase, **changed)


def rollout(tell: Tell) -> dict[str, Any]:
    (found,) = json.loads(tell("rollout", "status", "--json"))["rollouts"]
    return dict(found)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def test_new_keys_say_what_devices_pin_and_are_read_by_their_owner_only(tell, tmp_path):
    pinned = tell("keys", "new").split()[-1]
    assert len(pinned) == 32 and set(pinned) <= set("0123456789abcdef")
    assert tell("keys", "show").startswith(f"pin:  edge-client run --trust {pinned}\n")
    assert {path.stat().st_mode & 0o777 for path in files(tmp_path / "keys")} == {0o600}
    assert "has its keys already: `cloud-server keys rotate`" in tell("keys", "new", code=2)


def test_keys_of_another_fleet_are_not_written_over(tell, tmp_path):
    new_fleet(tmp_path / "other").keys.path.rename(tmp_path / "keys")
    before = {path: path.read_bytes() for path in files(tmp_path / "keys")}
    assert "holds keys of another fleet" in tell("keys", "new", code=2)
    assert {path: path.read_bytes() for path in files(tmp_path / "keys")} == before


def test_a_rotation_keeps_what_devices_pin(fleet, tell):
    before = fleet.repository.fingerprint
    assert "root 2 says so, signed by the old root key and the new one" in tell("keys", "rotate", "--role", "root")
    assert tell("keys", "rotate").startswith("the targets key is new; root 3 says so, signed by the old root key\n")
    assert before in tell("keys", "show")
    assert [one.version for one in fleet.repository.artefacts()] == [2, 1]


@pytest.mark.parametrize(
    "words",
    [
        ("keys", "show"),
        ("keys", "rotate"),
        ("bundle", "list"),
        ("publish", 1, "--to", "all"),
        ("rollout", "status"),
        ("rollout", "pause", 1),
        ("rollout", "group", "yard", "one"),
    ],
)
def test_a_folder_without_signed_models_is_said_to_have_none(words, tell, tmp_path):
    assert "holds no signed models: `cloud-server keys new` makes it" in tell(*words, code=2)
    assert not (tmp_path / "updates").exists()


def test_what_is_signed_is_listed(fleet, tell):
    listed = json.loads(tell("bundle", "list", "--json"))
    assert [(one["version"], one["kind"], one["base"]) for one in listed] == [(2, "bundle", ""), (1, "bundle", "")]
    table = tell("bundle", "list")
    assert len(table.splitlines()) == 3 and listed[0]["result"][:12] in table


def test_a_published_version_goes_to_a_share_and_then_to_all(fleet, tell):
    assert tell("rollout", "status") == "nothing was published yet: cloud-server publish VERSION --to 10%\n"
    assert "version 2 of tiny-0 goes to 10%" in tell("publish", 2, "--to", "10%", "--max-concurrent", 5)
    found = rollout(tell)
    assert (found["version"], found["to"], found["state"], found["devices"]) == (2, "10%", "active", 0)
    tell("publish", 2, "--to", "all")
    heard(fleet, one=state(2), two=state(1, Phase.TRIAL, target="2-tiny-0.torch.bundle"))
    found = rollout(tell)
    assert (found["to"], found["devices"], found["done"], found["under_way"]) == ("all", 2, 1, 1)


def test_a_group_takes_its_devices_only(fleet, tell):
    assert tell("rollout", "group", "yard", "one", "two") == "group yard: one two\n"
    tell("publish", 2, "--to", "yard")
    heard(fleet, one=state(1), three=state(1))
    assert rollout(tell)["devices"] == 1
    assert tell("rollout", "group", "yard") == "group yard: no device\n"
    assert rollout(tell)["devices"] == 0


def test_a_rollout_pauses_goes_on_and_ends(fleet, tell):
    tell("publish", 2, "--to", "all")
    for word, words, now in (("pause", "is paused", "paused"), ("resume", "goes on", "active")):
        assert tell("rollout", word, 2) == f"version 2 {words}\n"
        assert rollout(tell)["state"] == now
    assert "is aborted: no device gets it any more" in tell("rollout", "abort", 2)
    assert rollout(tell)["state"] == "aborted"
    for words in (("rollout", "resume", 2), ("publish", 2, "--to", "all")):
        assert "version 2 was aborted: sign it again, as a new version" in tell(*words, code=2)


def test_devices_that_went_back_are_told_with_their_reasons(fleet, tell):
    tell("publish", 2, "--to", "all", "--max-failures", 1)
    target = "2-tiny-0.torch.bundle"
    heard(
        fleet,
        one=state(1, Phase.ROLLED_BACK, target=target, reason="encoding takes 9 ms"),
        two=state(1, Phase.DOWNLOADING, target=target, done_bytes=50, total_bytes=200),
    )
    found = rollout(tell)
    assert (found["went_back"], found["state"], found["note"]) == (1, "paused", "1 devices went back by themselves")
    table = tell("rollout", "status")
    assert "encoding takes 9 ms" in table and "downloading 25 %" in table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("publish", 3, "--to", "all"), "version 3 is not signed: `cloud-server bundle list` shows what is"),
        (("publish", 2, "--to", "0%"), "--to takes all, the name of a group, or a share such as 10%"),
        (("publish", 2, "--to", "101%"), "--to takes all"),
        (("publish", 2, "--to", "../yard"), "--to takes all"),
        (("rollout", "pause", 2), "version 2 was never published: see `cloud-server rollout status`"),
        (("rollout", "group", "all", "one"), "a group cannot be called all"),
        (("rollout", "group", "5%", "one"), "a group cannot be called 5%"),
    ],
)
def test_what_cannot_be_done_says_why_and_changes_nothing(words, message, fleet, tell):
    assert message in tell(*words, code=2)
    assert json.loads(tell("rollout", "status", "--json")) == {"rollouts": [], "devices": []}
