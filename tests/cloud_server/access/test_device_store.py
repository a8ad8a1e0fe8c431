"""The file of devices: whole after whatever goes wrong, and clear about what it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cloud_server.access import device_store as module
from cloud_server.access.device_store import DeviceRecord, DeviceStore, token_hash
from splitnet import database_format
from splitnet.errors import AccessError, ConfigError

KEY = bytes(range(32))


@pytest.fixture
def store(tmp_path: Path) -> DeviceStore:
    made = DeviceStore(tmp_path / "devices.sqlite")
    made.create()
    return made


def device(key_id: str = "k1", since: float = 5.0) -> DeviceRecord:
    return DeviceRecord("", since, b"root", KEY, key_id)


def enrol(store: DeviceStore, key: bytes = KEY, **facts: object) -> str:
    return store.enrol(key, lambda known: known, device(**facts))[0]


def test_an_invitation_is_used_up_and_names_the_device(store):
    store.invite("camera-1", KEY, now=0.0, expires=10.0)
    assert enrol(store) == "camera-1"
    assert store.devices() == [DeviceRecord("camera-1", 5.0, b"root", KEY, "k1")]
    assert store.invitations(5.0) == []
    with pytest.raises(AccessError, match="was used"):
        enrol(store)


def test_an_invitation_is_good_until_it_expires_by_the_servers_clock(store):
    store.invite("camera-1", KEY, now=0.0, expires=5.0)
    with pytest.raises(AccessError, match="has expired"):
        enrol(store, since=5.0)
    assert enrol(store, since=4.9) == "camera-1"


def test_a_second_invitation_of_a_name_voids_the_first(store):
    store.invite("camera-1", KEY, 0.0, 10.0)
    store.invite("camera-1", KEY[::-1], 0.0, 10.0)
    with pytest.raises(AccessError):
        enrol(store)
    assert enrol(store, KEY[::-1]) == "camera-1"


def test_an_enrolment_anew_replaces_the_key_and_keeps_the_limits(store):
    store.invite("camera-1", KEY, 0.0, 10.0)
    enrol(store)
    store.limit("camera-1", 2, 5.0)
    store.revoke("camera-1", 6.0)
    store.invite("camera-1", KEY, 6.0, 20.0)
    enrol(store, key_id="k2", since=7.0)
    (found,) = store.devices()
    assert (found.key_id, found.revoked, found.max_sessions, found.max_fps) == ("k2", None, 2, 5.0)


def test_a_key_has_one_name(store):
    for name in ("camera-1", "camera-2"):
        store.invite(name, KEY, 0.0, 10.0)
        if name == "camera-1":
            enrol(store)
    with pytest.raises(AccessError, match="under another name"):
        enrol(store)


def test_only_the_hash_of_a_token_is_kept_and_a_new_one_voids_it(store):
    first = store.give_token("gate", 0.0)
    second = store.give_token("gate", 0.0)
    assert first.encode() not in store.path.read_bytes() and first != second
    assert [one.token_hash for one in store.devices()] == [token_hash(second)]


def test_to_revoke_is_to_void_token_and_invitation(store):
    store.give_token("gate", 0.0)
    store.invite("gate", KEY, 0.0, 10.0)
    store.revoke("gate", 1.0)
    (found,) = store.devices()
    assert not found.may_come and found.token_hash is None and store.invitations(1.0) == []


def test_nobody_of_a_name_is_one_line_that_says_where_to_look(store):
    for change in (
        lambda: store.revoke("ghost", 1.0),
        lambda: store.limit("ghost", 1, None),
        lambda: store.allow_bundles("ghost", None),
    ):
        with pytest.raises(ConfigError, match="no device is called ghost: `cloud-server devices list`"):
            change()


def test_invitations_and_devices_are_bounded(store, monkeypatch):
    monkeypatch.setattr(module, "MAX_INVITATIONS", 1)
    monkeypatch.setattr(module, "MAX_DEVICES", 1)
    store.invite("camera-1", KEY, 0.0, 10.0)
    with pytest.raises(ConfigError, match="1 invitations are open"):
        store.invite("camera-2", KEY, 0.0, 10.0)
    enrol(store)
    with pytest.raises(ConfigError, match="at most 1 devices"):
        store.give_token("gate", 0.0)


@pytest.mark.parametrize("content", [b"damaged" * 100, b"SQLite format 3\x00" + b"\xff" * 500])
def test_a_damaged_file_says_so(store, content):
    store.path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"damaged .*put back a copy"):
        store.devices()


def test_a_file_of_another_format_is_not_touched(store):
    database = sqlite3.connect(store.path)
    database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(ConfigError, match="is of format 7, this software has 1"):
        store.give_token("gate", 0.0)


def test_an_entry_that_is_damaged_names_its_device(store):
    store.give_token("gate", 0.0)
    database = sqlite3.connect(store.path)
    database.execute("UPDATE devices SET bundles = '{'")
    database.commit()
    database.close()
    with pytest.raises(ConfigError, match="the entry of device gate is damaged"):
        store.devices()


def test_a_missing_file_says_what_makes_it(tmp_path):
    with pytest.raises(ConfigError, match="`cloud-server devices init` makes it"):
        DeviceStore(tmp_path / "none.sqlite").devices()


def test_a_full_disk_loses_neither_device_nor_invitation(store, monkeypatch):
    store.invite("camera-1", KEY, 0.0, 10.0)
    whole, connect = store.path.read_bytes(), sqlite3.connect

    def on_a_full_disk(*words: object, **how: object) -> sqlite3.Connection:
        database = connect(*words, **how)
        database.execute(f"PRAGMA max_page_count = {len(whole) // 4096}")
        return database

    monkeypatch.setattr(module.sqlite3, "connect", on_a_full_disk)
    with pytest.raises(ConfigError, match="the disk is full; nothing was changed"):
        store.enrol(KEY, lambda known: known, DeviceRecord("", 5.0, bytes(10**5), KEY, "k1"))
    monkeypatch.undo()
    assert enrol(store) == "camera-1"


def test_a_file_that_cannot_be_written_says_so(store, monkeypatch):
    connect = sqlite3.connect
    read_only = lambda name, **how: connect(name.replace("mode=rw", "mode=ro"), **how)  # noqa: E731 - root may write
    monkeypatch.setattr(module.sqlite3, "connect", read_only)
    with pytest.raises(ConfigError, match="cannot be written: check whose it is"):
        store.give_token("gate", 0.0)


def test_two_processes_with_one_file_take_turns_and_neither_waits_for_ever(store, monkeypatch):
    monkeypatch.setattr(database_format, "LOCK_PATIENCE_S", 0.0)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ConfigError, match="another process has held it"):
        store.give_token("gate", 0.0)
    assert store.devices() == []
    other.execute("COMMIT")
    other.close()
    store.give_token("gate", 0.0)
    assert [one.name for one in DeviceStore(store.path).devices()] == ["gate"]
