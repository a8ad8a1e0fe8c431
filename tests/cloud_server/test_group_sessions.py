"""Devices of a group over a real gRPC loopback, with a model without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import grpc
import pytest

from cloud_server.scheduling.payer import Payer
from splitnet.errors import ForbiddenError
from splitnet.messages import (
    Ack,
    Frame,
    FrameDetections,
    FrameError,
    GroupPlace,
    InferRequest,
    OpenSession,
    SessionOpened,
)
from splitnet.wire.sessions import infer_request_to_proto
from tests.support.fake_group_model import GROUP_DIGEST, OTHER_GROUP_DIGEST, PARTS
from tests.support.fake_model import BAD, IMAGE_POINT, frame
from tests.support.listening_service import DIGEST, Daemon, Stream, until

LATER = 10_000  # milliseconds: no test waits for a deadline


def opening(part: int, name: str = "yard", digest: str = GROUP_DIGEST, parts: int = PARTS, **changes) -> OpenSession:
    device = changes.pop("device", f"cam-{part}")
    return OpenSession(device, digest, group=GroupPlace(name, part, parts, **changes))


@asynccontextmanager
async def device(daemon: Daemon, part: int, **changes) -> AsyncIterator[Stream]:
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(opening(part, **changes))
        opened = await stream.next()
        assert isinstance(opened, SessionOpened) and opened.group == opening(part, **changes).group
        yield stream
        stream.call.cancel()


@asynccontextmanager
async def group(daemon: Daemon, *parts: int) -> AsyncIterator[list[Stream]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(device(daemon, part)) for part in parts]


def part(frame_id: int = 1, payload: bytes = b"x", deadline_ms: int = LATER, stream: int = 7, **changes) -> Frame:
    return replace(frame(frame_id, payload, deadline_ms=deadline_ms), group_stream=stream, **changes)


async def send(stream: Stream, one: Frame) -> None:
    await stream.send(one)
    assert isinstance(await stream.next(), Ack)


async def refusal(daemon: Daemon, request: OpenSession) -> tuple[grpc.StatusCode, str]:
    async with daemon.client() as client:
        stream = Stream(client.Detect())
        await stream.send(request)
        return await stream.refusal()


async def test_parts_are_joined_and_every_device_gets_the_answer(daemon):
    async with group(daemon, 1, 2, 3) as (one, two, three):
        await send(two, part(payload=b"22", capture_time_us=2))
        await send(three, part(payload=b"333", capture_time_us=3))
        await send(one, part(payload=b"1", capture_time_us=1))
        answers = [await stream.next() for stream in (one, two, three)]
    assert [answer.detections.labels.tolist() for answer in answers] == [[6]] * 3
    assert [answer.parts_used for answer in answers] == [(1, 2, 3)] * 3
    assert [answer.capture_time_us for answer in answers] == [1, 2, 3]  # each its own
    assert daemon.group.group_batches == [[{1: b"1", 2: b"22", 3: b"333"}]]


async def test_the_answer_says_which_parts_it_had(daemon):
    async with group(daemon, 1, 2, 3) as (one, two, three):
        await send(one, part(1))
        await send(three, part(1))
        await send(two, part(2))  # it has skipped the first frame
        assert [(await stream.next()).parts_used for stream in (one, three)] == [(1, 3)] * 2
        tally = daemon.service.groups.tally
        assert (tally.frames, tally.degraded, tally.missing, tally.parts) == (1, 1, 1, 3)


async def test_a_device_that_dies_costs_its_part_and_no_frame(daemon):
    async with group(daemon, 1, 2) as (one, two):
        async with device(daemon, 3) as three:
            for stream in (one, two):
                await send(stream, part())
            three.call.cancel()
            answers = [await stream.next() for stream in (one, two)]
            assert [answer.parts_used for answer in answers] == [(1, 2)] * 2
        for stream in (one, two):
            await send(stream, part(2))
        assert [(await stream.next()).parts_used for stream in (one, two)] == [(1, 2)] * 2
        async with device(daemon, 3) as three:  # and it rejoins
            for stream in (one, two, three):
                await send(stream, part(3))
            assert (await three.next()).parts_used == (1, 2, 3)


async def test_nothing_is_kept_of_a_group_whose_devices_have_gone(daemon):
    groups = daemon.service.groups
    async with group(daemon, 1, 2) as (one, _):
        await send(one, part())
        assert (len(groups), groups.devices, groups.waiting, groups.lagging) == (1, 2, 1, 0)
    await until(lambda: not len(groups))
    assert (groups.devices, groups.waiting, daemon.service._held._held) == (0, 0, {})


async def test_a_device_that_closes_its_side_gets_its_answers_and_is_not_waited_for(daemon):
    async with group(daemon, 1, 2) as (one, two):
        await send(one, part(1))
        await two.call.done_writing()
        assert (await one.next()).parts_used == (1,)
        await send(one, part(2))
        assert (await one.next()).parts_used == (1,)


async def test_a_damaged_part_is_refused_and_the_others_are_answered_without_it(daemon):
    async with group(daemon, 1, 2, 3) as (one, two, three):
        await send(one, part())
        await send(two, part(payload=BAD))
        await send(three, part())
        answers = [await stream.next() for stream in (one, two, three)]
    assert [one.parts_used for one in answers if isinstance(one, FrameDetections)] == [(1, 3)] * 2
    assert isinstance(answers[1], FrameError)
    assert (answers[1].status, answers[1].message) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "these bytes are not a bitstream",
    )


async def test_if_no_part_can_be_decoded_all_are_told(daemon):
    async with group(daemon, 1) as (one,):
        await send(one, part(payload=BAD))
        answer = await one.next()
    assert isinstance(answer, FrameError) and answer.message == "no part is left"


async def test_two_devices_with_the_same_part_and_the_second_is_refused_by_name(daemon):
    async with group(daemon, 1, 2) as (one, two):
        status, message = await refusal(daemon, opening(2, device="cam-9"))
        assert status is grpc.StatusCode.ALREADY_EXISTS
        assert message.startswith("cam-2 is part 2 of group yard already")
        async with device(daemon, 2, device="cam-9", spare=True) as spare:
            await send(one, part())
            await send(spare, part(payload=b"spare"))
            await send(two, part())
            assert {(await stream.next()).parts_used for stream in (one, two, spare)} == {(1, 2)}
    assert daemon.group.group_batches == [[{1: b"x", 2: b"spare"}]]


async def test_a_device_that_comes_back_before_its_old_session_has_ended_takes_its_place(daemon):
    async with group(daemon, 1, 2) as (one, two), device(daemon, 2) as again:
        await send(one, part())
        await send(again, part())
        assert (await again.next()).parts_used == (1, 2)
        answer = await two.answer(part())
        assert isinstance(answer, FrameError) and "another session of this device has taken its place" in answer.message
        two.call.cancel()
        assert (await one.next()).frame_id == 1
        await send(one, part(2))
        await send(again, part(2))
        assert [(await stream.next()).parts_used for stream in (one, again)] == [(1, 2)] * 2
        assert daemon.service.groups.devices == 2


async def test_a_part_of_another_version_is_refused_by_name(daemon):
    async with group(daemon, 1):
        status, message = await refusal(daemon, opening(2, digest=OTHER_GROUP_DIGEST))
    assert status is grpc.StatusCode.FAILED_PRECONDITION
    assert message == (
        f"group yard runs bundle group-3 ({GROUP_DIGEST}); this device has group-3 ({OTHER_GROUP_DIGEST}): give all "
        "devices of a group the same bundle"
    )


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            OpenSession("cam-1", GROUP_DIGEST),
            "group-3 is for a group of 3 devices: give each --group",
        ),
        (opening(1, digest=DIGEST), "bundle coco-nano has no parts for a group: leave --group out"),
        (opening(2, parts=4), "bundle group-3 has 3 parts, not 4: give --part K/3"),
        (opening(4, parts=3), "part 4 of 3 cannot be"),
        (opening(1, name="n" * 65), "the name of a group is printable text of 1 to 64 characters"),
    ],
)
async def test_places_that_do_not_fit_the_bundle_are_refused(daemon, request_, message):
    status, told = await refusal(daemon, request_)
    assert status is grpc.StatusCode.INVALID_ARGUMENT and message in told


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (part(frame_width=320, frame_height=240), "part 2 of frame 1 is of an image of 320x240 pixels"),
        (part(stream=8), "part 2 of frame 1 is of another camera"),
        (part(operating_point=IMAGE_POINT), "a device of a group sends features"),
    ],
)
async def test_a_part_that_does_not_fit_the_others_is_refused_and_they_go_on(daemon, one, message):
    async with group(daemon, 1, 2) as (first, second):
        await send(first, part())
        answer = await second.answer(one)
        assert isinstance(answer, FrameError) and message in answer.message
        await second.call.done_writing()
        assert (await first.next()).parts_used == (1,)


async def test_a_device_that_lags_is_told_so(daemon):
    async with group(daemon, 1, 2) as (one, two):
        await send(two, part(1000))  # so nobody waits for it before
        for number in range(1, 40):
            assert (await one.answer(part(number))).parts_used == (1,)
        answer = await two.answer(part(1))
        assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "is too slow for its group" in answer.message
        assert (await two.answer(part(39))).parts_used == (1,)  # the answer that the others got


async def test_groups_of_different_names_know_nothing_of_each_other(daemon):
    async with device(daemon, 1) as one, device(daemon, 2, name="porch") as other:
        assert (await one.answer(part())).parts_used == (1,)
        assert (await other.answer(part())).parts_used == (2,)
        assert len(daemon.service.groups) == 2


async def test_a_single_call_for_a_groups_bundle_is_refused(daemon):
    async with daemon.client() as client:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.Infer(infer_request_to_proto(InferRequest(GROUP_DIGEST, frame())))
    assert "is for a group of 3 devices" in caught.value.details()


async def test_parts_that_wait_count_as_held_until_they_are_answered(daemon):
    held = daemon.service._held
    async with group(daemon, 1, 2) as (one, two):
        await send(one, part(payload=b"0123456789"))
        assert sum(held._held.values()) == 10
        await send(two, part(payload=b"01234"))
        await asyncio.gather(one.next(), two.next())
        assert sum(held._held.values()) == 0


async def test_where_devices_must_show_who_they_are_those_of_a_group_are_named_after_it(daemon):
    groups, payer = daemon.service.groups, Payer("address")
    with pytest.raises(ForbiddenError, match="porch-1 is not of group yard: where devices must show who they are"):
        groups.join(opening(1, device="porch-1"), daemon.group, payer, is_known=True)
    assert len(groups) == 0
    member = groups.join(opening(1, device="yard-1"), daemon.group, payer, is_known=True)
    assert member is not None and groups.devices == 1
    member.leave()
    member.leave()
    assert len(groups) == 0
