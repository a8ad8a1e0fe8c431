"""Certificates of an operator's own: who fits comes in, and everybody else is told what is wrong."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from cloud_server.access.entrance import make_entrance
from cloud_server.config import ServeConfig
from edge_client.transport.credentials import Credentials
from edge_client.transport.enrolment import enrol
from edge_client.transport.tls_files import TlsFiles
from splitnet.errors import ConfigError, ForbiddenError, LinkError
from splitnet.messages import FrameDetections, OpenSession
from tests.support.fake_model import DIGEST
from tests.support.locked_server import first_answer, started
from tests.support.own_pki import OwnPki

OPENING = OpenSession("camera-1", DIGEST)
DAY_S = 86_400.0
# gRPC tells it in different ways: TLS 1.3 refuses a client after the handshake.
REFUSED = r"handshake failed|takes enrolled devices only|not known there, or was revoked"


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> OwnPki:
    return OwnPki(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory) -> OwnPki:
    return OwnPki(tmp_path_factory.mktemp("theirs"), "another authority")


@asynccontextmanager
async def serving(
    certificate: Path, client_ca: Path | None = None, clock: Callable[[], float] = time.time
) -> AsyncIterator[str]:
    """Yield where a server with this certificate listens, as "localhost:PORT"."""
    config = ServeConfig(listen="127.0.0.1:0", tls_cert=certificate, client_ca=client_ca)
    async with started(make_entrance(config, clock)) as (_, address, _):
        yield f"localhost:{address.rpartition(':')[2]}"


def trusting(ca: Path | None, own: Path | None = None) -> Credentials:
    return Credentials(TlsFiles(server_ca=None if ca is None else str(ca), client_cert=own, client_key=own))


async def answer(server: str, credentials: Credentials, opening: OpenSession = OPENING) -> object:
    return await first_answer(server, credentials, opening)


async def test_a_device_goes_by_the_common_name_of_its_certificate(pki):
    async with serving(pki.issue("edge", "localhost"), pki.ca) as server:
        own = trusting(pki.ca, pki.issue("camera-1"))
        assert isinstance(await answer(server, own), FrameDetections)
        with pytest.raises(ForbiddenError, match="this device is camera-1 here, not camera-2"):
            await answer(server, own, replace(OPENING, device_id="camera-2"))


async def test_who_has_no_certificate_of_the_authority_stays_outside(pki, strangers):
    async with serving(pki.issue("edge", "localhost"), pki.ca) as server:
        outside = [None, strangers.issue("camera-1"), pki.issue("camera-1", begins=-9, ends=-1)]
        for certificate in (*outside, pki.issue("camera-1", begins=1, ends=9)):
            with pytest.raises(LinkError, match=REFUSED):
                await answer(server, trusting(pki.ca, certificate))
        assert isinstance(await answer(server, trusting(pki.ca, pki.issue("camera-1"))), FrameDetections)


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [(-9, -1, "has expired, or the clock is wrong"), (1, 9, "is not valid yet: look at the clock of this device")],
)
async def test_a_device_says_so_when_times_do_not_fit(pki, begins, ends, said):
    """To the server they do: one of the two clocks is wrong."""
    certificate = pki.issue("edge", "localhost", begins, ends)
    async with serving(certificate, clock=lambda: time.time() + (begins + 0.5) * DAY_S) as server:
        with pytest.raises(LinkError, match=said):
            await answer(server, trusting(pki.ca))


async def test_a_server_of_another_authority_or_name_is_not_trusted(pki, strangers):
    async with serving(pki.issue("edge", "localhost")) as server:
        with pytest.raises(LinkError, match="does not trust the server's certificate"):
            await answer(server, trusting(strangers.ca))
    async with serving(pki.issue("edge", "another-node.local")) as server:
        with pytest.raises(LinkError, match="is for another name"):
            await answer(server, trusting(pki.ca))


async def test_what_is_no_certificate_is_said_before_anything_is_sent(pki, tmp_path):
    damaged = tmp_path / "damaged.pem"
    damaged.write_bytes(pki.issue("camera-1").read_bytes()[:200])
    for ca, own in ((damaged, None), (pki.ca, damaged)):
        with pytest.raises(ConfigError, match=r"damaged\.pem holds no"):
            await answer("localhost:1", trusting(ca, own))
    files = TlsFiles(str(pki.ca), pki.issue("camera-1"), pki.issue("camera-2"))
    with pytest.raises(ConfigError, match="is not the key of"):
        await answer("localhost:1", Credentials(files))


async def test_a_certificate_that_is_being_written_does_not_end_a_device(pki, tmp_path, caplog):
    async with serving(pki.issue("edge", "localhost"), pki.ca) as server:
        own = tmp_path / "own.pem"
        own.write_bytes(pki.issue("camera-1").read_bytes())
        credentials = trusting(pki.ca, own)
        assert isinstance(await answer(server, credentials), FrameDetections)
        own.write_bytes(own.read_bytes()[:100])
        assert isinstance(await answer(server, credentials), FrameDetections)
        assert "going on with the certificates of before" in caplog.text


async def test_plain_and_secured_ends_tell_each_other_apart(pki, tmp_path):
    async with serving(pki.issue("edge", "localhost")) as server:
        with pytest.raises(LinkError):
            await answer(server, Credentials())
        assert isinstance(await answer(server, trusting(pki.ca)), FrameDetections)
    async with started(make_entrance(ServeConfig(listen="127.0.0.1:0"))) as (_, address, _):
        with pytest.raises(LinkError, match="it speaks no TLS"):
            await answer(address, trusting(pki.ca))
        with pytest.raises(LinkError, match=r"it speaks no TLS: codes are for the address"):
            await enrol(address, "ABCD-1234", tmp_path / "identity")
        assert isinstance(await answer(address, Credentials()), FrameDetections)


def _http_over_tls(server: str) -> bytes:
    """Ask a question of the web in the wrong place."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = server.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), 10) as plain, context.wrap_socket(plain) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: edge\r\n\r\n")
            return tls.recv(1000)
    except OSError:  # cut
        return b""


async def test_tls_of_another_kind_harms_nobody(pki):
    async with serving(pki.issue("edge", "localhost")) as server:
        assert b"200" not in await asyncio.to_thread(_http_over_tls, server)
        assert isinstance(await answer(server, trusting(pki.ca)), FrameDetections)
