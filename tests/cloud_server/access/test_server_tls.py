"""Certificates that change under a running server: a good pair is taken, a bad one is refused and the old one kept."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from pathlib import Path

import pytest

from cloud_server.access.authority import AccessFolder
from cloud_server.access.server_tls import DAY_S, CertificateFiles, ServerCertificate, read_pair
from splitnet.errors import ConfigError

MADE = datetime(2026, 1, 10, tzinfo=timezone.utc)
NOW = MADE.timestamp()


def folder_at(path: Path, made: datetime = MADE) -> AccessFolder:
    folder = AccessFolder(path)
    folder.init(["edge-node.local", "192.0.2.7", "[2001:db8::1]"], made)
    return folder


def files_of(folder: AccessFolder) -> CertificateFiles:
    return CertificateFiles(folder.server_file, folder.server_file)


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that its state differs, whatever the clock of the file system is."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 1, before + 1))


def test_keys_are_for_their_user_alone(tmp_path):
    folder = folder_at(tmp_path / "access")
    modes = {path.name: path.stat().st_mode & 0o077 for path in (folder.path, *folder.path.iterdir())}
    assert {name for name, mode in modes.items() if mode} == {"authority.pem"}


def test_the_days_that_are_left_are_counted(tmp_path):
    clock = [NOW]
    certificate = ServerCertificate(files_of(folder_at(tmp_path)), lambda: clock[0])
    assert certificate.days_left == 824
    clock[0] += 825 * DAY_S
    assert certificate.days_left == -1


@pytest.mark.parametrize(("at", "what"), [(NOW + 825 * DAY_S, "has expired"), (NOW - 2 * DAY_S, "is not valid yet")])
def test_a_certificate_out_of_its_time_is_refused(tmp_path, at, what):
    with pytest.raises(ConfigError, match=what):
        read_pair(files_of(folder_at(tmp_path)), at)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    one, other = folder_at(tmp_path / "a"), folder_at(tmp_path / "b")
    with pytest.raises(ConfigError, match="is not the key of"):
        read_pair(CertificateFiles(one.server_file, other.server_file), NOW)


@pytest.mark.parametrize("content", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(tmp_path, content):
    path = tmp_path / "server.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="no certificate with its key in PEM"):
        read_pair(CertificateFiles(path, path), NOW)


def test_a_missing_file_and_a_pipe_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_pair(CertificateFiles(tmp_path / name, tmp_path / name), NOW)


def test_a_renewed_pair_is_taken_and_a_broken_one_is_not(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    clock = [NOW]
    folder = folder_at(tmp_path)
    certificate = ServerCertificate(files_of(folder), lambda: clock[0])
    first = certificate.pair
    replace_file(folder.server_file, b"half a fi")
    clock[0] += 1.0
    assert certificate.pair is first
    clock[0] += 1.0
    assert certificate.pair is first and caplog.messages == ["certificate refused, going on with the old one"]
    folder.init([], datetime.fromtimestamp(NOW + 400 * DAY_S, timezone.utc))
    assert certificate.pair is first  # looked at a moment ago
    clock[0] += 400 * DAY_S
    renewed = certificate.pair
    assert renewed.leaf != first.leaf and certificate.days_left == 823
    assert caplog.messages[-1] == "certificate changed"


def test_a_second_init_keeps_the_authority_that_devices_trust(tmp_path):
    folder = folder_at(tmp_path)
    authority = folder.authority()
    assert folder.init(["other"], MADE) is False
    assert folder.authority() == authority


@pytest.mark.parametrize("host", ["", "a b", "-x", "http://edge", "edge:50051", "x" * 300, "ein\nname"])
def test_a_host_that_is_none_is_named(tmp_path, host):
    with pytest.raises(ConfigError, match="--host takes a name or an address"):
        AccessFolder(tmp_path / "access").init([host], MADE)


def test_a_folder_that_is_not_made_says_what_makes_it(tmp_path):
    with pytest.raises(ConfigError, match=r"no authority\.pem.*devices init` makes them"):
        AccessFolder(tmp_path).check_made()
