"""A locked server and real clients: only who is known comes in, and every change is in force at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge_client.transport.credentials import Credentials
from edge_client.transport.enrolment import enrol
from edge_client.transport.session import open_session
from edge_client.transport.tls_files import TlsFiles
from splitnet import enrolment
from splitnet.errors import AccessError, ForbiddenError, LinkError, SplitError
from splitnet.messages import FrameDetections, FrameError, OpenSession, Reply
from tests.support.fake_model import DIGEST, FakeModel, frame
from tests.support.locked_server import Locked, entrance_of, first_answer, locked, started

OPENING = OpenSession("some machine", DIGEST)


@pytest.fixture(autouse=True)
def _cheap_codes(monkeypatch):
    """What a code costs those who guess is no test's business."""
    monkeypatch.setitem(enrolment._SCRYPT, "n", 2)


async def answer(server: str, credentials: Credentials | None, opening: OpenSession = OPENING) -> object:
    return await first_answer(server, credentials, opening)


def with_token(running: Locked, folder: Path, name: str) -> Credentials:
    """Give a device a token; returns what it shows."""
    token = folder / f"{name}.token"
    token.write_text(running.access.store.give_token(name, 0.0) + "\n")
    authority = folder / "authority.pem"
    authority.write_bytes(running.access.authority())
    return Credentials(TlsFiles(server_ca=str(authority), token_file=token))


async def test_an_enrolled_device_comes_in_under_its_name_and_nobody_else_does(tmp_path):
    async with locked(tmp_path / "access") as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        assert isinstance(await answer(running.address, known), FrameDetections)
        with pytest.raises(LinkError):
            await answer(running.address, None)
        ca = tmp_path / "ca.pem"
        ca.write_bytes(running.access.authority())
        with pytest.raises(LinkError):
            await answer(running.address, Credentials(TlsFiles(server_ca=str(ca))))
        with pytest.raises(AccessError, match="known devices only"):
            await answer(running.enrol_address, Credentials(TlsFiles(server_ca=str(ca))))


async def test_an_enrolled_device_knows_the_server_whatever_its_address_is(tmp_path):
    async with locked(tmp_path / "access", hosts=()) as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        assert isinstance(await answer(running.address, known), FrameDetections)


async def test_an_identity_of_another_server_is_refused(tmp_path):
    async with locked(tmp_path / "a") as one, locked(tmp_path / "b") as other:
        elsewhere = await other.enrolled("camera-1", tmp_path / "identity")
        await one.enrolled("camera-1", tmp_path / "second")
        with pytest.raises(LinkError, match="does not trust"):
            await answer(one.address, elsewhere)


async def test_a_code_works_once_and_tells_who_is_wrong(tmp_path):
    async with locked(tmp_path / "access") as running:
        code = running.invite("camera-1")
        await enrol(running.enrol_address, code.lower().replace("-", " "), tmp_path / "one")
        for wrong in (code, "ZZZZ-ZZZZ"):
            with pytest.raises(AccessError, match="wrong, was used, or has expired"):
                await enrol(running.enrol_address, wrong, tmp_path / "two")
        late = running.invite("camera-2", seconds=-1.0)
        with pytest.raises(AccessError, match="has expired"):
            await enrol(running.enrol_address, late, tmp_path / "two")


async def test_of_two_devices_with_one_code_one_is_enrolled(tmp_path):
    async with locked(tmp_path / "access") as running:
        code = running.invite("camera-1")
        tries = [enrol(running.enrol_address, code, tmp_path / name) for name in ("a", "b")]
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        assert sorted(isinstance(outcome, AccessError) for outcome in outcomes) == [False, True]
        assert [device.name for device in running.access.store.devices()] == ["camera-1"]


async def test_a_device_that_cannot_be_kept_leaves_the_code_good(tmp_path):
    async with locked(tmp_path / "access") as running:
        code = running.invite("camera-1")
        kept = running.access.store.path.read_bytes()
        running.access.store.path.write_bytes(b"damaged")
        with pytest.raises(SplitError, match="cannot keep devices"):
            await enrol(running.enrol_address, code, tmp_path / "one")
        running.access.store.path.write_bytes(kept)
        await enrol(running.enrol_address, code, tmp_path / "one")


async def test_a_revoked_device_loses_its_running_session(tmp_path):
    async with locked(tmp_path / "access") as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        other = await running.enrolled("camera-2", tmp_path / "two")
        async with open_session(running.address, OPENING, credentials=other) as neighbour:
            async with open_session(running.address, OPENING, credentials=known) as session:
                running.access.store.revoke("camera-1", 1.0)
                await running.changed()
                with pytest.raises(AccessError, match="revoked"):
                    async for _ in session.replies():
                        pass
            with pytest.raises(SplitError):
                await answer(running.address, known)
            neighbour.send(frame(1))
            assert await anext(neighbour.replies())


async def test_a_token_opens_sessions_of_its_device_only_and_is_void_after_the_next(tmp_path):
    async with locked(tmp_path / "access") as running:
        first = with_token(running, tmp_path, "camera-1")
        await running.changed()
        own = replace(OPENING, device_id="camera-1")
        assert isinstance(await answer(running.enrol_address, first, own), FrameDetections)
        with pytest.raises(ForbiddenError, match="this device is camera-1 here, not camera-2"):
            await answer(running.enrol_address, first, replace(OPENING, device_id="camera-2"))
        async with open_session(running.enrol_address, own, credentials=first) as session:
            running.access.store.give_token("camera-1", 1.0)
            await running.changed()
            with pytest.raises(AccessError, match="another key"):
                async for _ in session.replies():
                    pass
        with pytest.raises(AccessError, match="token is wrong"):
            await answer(running.enrol_address, first, own)


async def test_two_servers_with_one_access_folder_know_the_same_devices(tmp_path):
    async with locked(tmp_path / "access") as one:
        entrance = entrance_of(access=tmp_path / "access")
        async with started(entrance) as (_, address, _):
            known = await one.enrolled("camera-1", tmp_path / "one")
            entrance.directory.refresh()
            async with (
                open_session(one.address, OPENING, credentials=known) as here,
                open_session(address, OPENING, credentials=known) as there,
            ):
                one.access.store.revoke("camera-1", 1.0)
                await one.changed()
                await asyncio.to_thread(entrance.directory.refresh)
                for session in (here, there):
                    with pytest.raises(AccessError, match="revoked"):
                        async for _ in session.replies():
                            pass


async def test_a_file_of_devices_that_is_damaged_meanwhile_ends_nothing(tmp_path, caplog):
    async with locked(tmp_path / "access") as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        running.access.store.path.write_bytes(b"damaged")
        await running.changed()
        await running.changed()
        assert isinstance(await answer(running.address, known), FrameDetections)
        told = [one for one in caplog.records if one.msg == "devices cannot be read, going on with those known"]
        assert len(told) == 1 and "damaged" in told[0].reason


async def test_guesses_of_codes_are_as_rare_as_they_must_be(tmp_path):
    """Of everybody together: a hundred addresses guess no faster than one."""
    async with locked(tmp_path / "access") as running:
        guesses = [enrol(running.enrol_address, "ZZZZ-ZZZZ", tmp_path / "two") for _ in range(14)]
        outcomes = await asyncio.gather(*guesses, return_exceptions=True)
        refused = [str(one) for one in outcomes if "too many attempts" in str(one)]
        assert len(refused) >= 3 and all(isinstance(one, SplitError) for one in outcomes)


async def test_a_device_may_be_kept_to_bundles_while_it_runs(tmp_path):
    async with locked(tmp_path / "access") as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        running.access.store.allow_bundles("camera-1", [DIGEST[:8].upper()])
        await running.changed()
        async with open_session(running.address, OPENING, credentials=known) as session:
            running.access.store.allow_bundles("camera-1", ["another"])
            await running.changed()
            with pytest.raises(ForbiddenError, match="may not use bundle coco-nano"):
                async for _ in session.replies():
                    pass
        with pytest.raises(ForbiddenError):
            await answer(running.address, known)


async def test_a_device_must_be_allowed_each_bundle_that_answers_it_and_while_it_runs(tmp_path):
    second = FakeModel("cd" * 32)
    second.name = "highway-nano"
    both = replace(OPENING, further_digests=(second.digest,))
    async with locked(tmp_path / "access", second=second) as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        running.access.store.allow_bundles("camera-1", ["coco-nano"])
        await running.changed()
        with pytest.raises(ForbiddenError, match="may not use bundle highway-nano"):
            await answer(running.address, known, both)
        running.access.store.allow_bundles("camera-1", ["coco-nano", "highway-nano"])
        await running.changed()
        async with open_session(running.address, both, credentials=known) as session:
            session.send(frame(1))
            replies = session.replies()
            answers = [reply async for reply in _until_answered(replies)]
            assert len(answers[-1].further) == 1
            running.access.store.allow_bundles("camera-1", ["coco-nano"])
            await running.changed()
            with pytest.raises(ForbiddenError, match="may not use bundle highway-nano"):
                async for _ in replies:
                    pass


async def _until_answered(replies: AsyncIterator[Reply]) -> AsyncIterator[Reply]:
    async for reply in replies:
        yield reply
        if isinstance(reply, FrameDetections):
            return


async def test_a_device_has_limits_of_its_own(tmp_path):
    async with locked(tmp_path / "access") as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        running.access.store.limit("camera-1", 1, 0.001)
        await running.changed()
        async with open_session(running.address, OPENING, credentials=known) as session:
            for number in (1, 2):
                session.send(frame(number))
            replies = session.replies()
            answers = [
                reply for _ in range(4) if isinstance(reply := await anext(replies), FrameDetections | FrameError)
            ]
            refused = next(one for one in answers if isinstance(one, FrameError))
            assert refused.message == "this device may send 0.001 frames a second: send fewer"
            with pytest.raises(LinkError, match="1 calls and sessions are open already"):
                await answer(running.address, known)


async def test_health_needs_no_identity_where_devices_are_enrolled(tmp_path):
    async with locked(tmp_path / "access") as running:
        credentials = grpc.ssl_channel_credentials(running.access.authority())
        options = [("grpc.ssl_target_name_override", "slimsplit-edge")]
        async with grpc.aio.secure_channel(running.enrol_address, credentials, options) as channel:
            reply = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert reply.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(
    "garbage", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\xff\xff", b""]
)
async def test_garbage_on_either_port_harms_nobody(tmp_path, garbage):
    async with locked(tmp_path / "access") as running:
        known = await running.enrolled("camera-1", tmp_path / "one")
        for address in (running.address, running.enrol_address):
            host, _, port = address.rpartition(":")
            with socket.create_connection((host, int(port)), 10) as stranger:
                stranger.sendall(garbage)
                assert isinstance(await answer(running.address, known), FrameDetections)
