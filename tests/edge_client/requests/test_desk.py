"""The desk answers every request in time: by the pipeline, or by the device's own detector. In virtual time."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np
import pytest

from edge_client.frames import EncodedFrame
from edge_client.requests.desk import MAX_WAITING, Answer, AnsweredBy, Desk
from splitnet.detections import Detections
from splitnet.operating_point import LOCAL
from tests.support.client_samples import result
from tests.support.virtual_time import VirtualTimeLoop, in_virtual_time

IMAGE = np.zeros((48, 64, 3), np.uint8)
LOCAL_FOUND = Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))


class Inline(Executor):
    """Does at once what it is given."""

    def submit(self, function, /, *arguments, **keywords):
        function(*arguments, **keywords)
        return Future()


class SlowLocal:
    """The device's own detector, which takes 40 virtual milliseconds."""

    def __init__(self, takes_s: float = 0.04) -> None:
        self.takes_s, self.calls = takes_s, 0

    def detect(self, image):
        self.calls += 1
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop._advance(self.takes_s)
        return EncodedFrame(LOCAL, b"", 0.0, self.takes_s * 1000, 0.0), LOCAL_FOUND


def opened(local: SlowLocal | None) -> Desk:
    desk = Desk(200, asyncio.get_running_loop().time, Inline())
    desk.open(local)
    return desk


async def asked(desk: Desk) -> tuple[Answer, float]:
    """Ask; return the answer and the seconds until it came."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    return await desk.ask(IMAGE), loop.time() - begin


@in_virtual_time
async def test_the_pipelines_answer_is_passed_on_with_its_time():
    desk = opened(SlowLocal())
    images = desk.source.images(lambda seconds: False)
    asking = asyncio.create_task(desk.ask(IMAGE))
    await asyncio.sleep(0)
    assert next(images).image is IMAGE
    desk.write(result(frame_id=1, end_to_end_ms=31.5))
    answer = await asking
    assert (answer.by, answer.pipeline_ms, len(answer.detections)) == (AnsweredBy.SERVER, 31.5, 2)


@in_virtual_time
async def test_what_the_policy_left_to_the_device_is_told_so():
    desk = opened(None)
    images = desk.source.images(lambda seconds: False)
    asking = asyncio.create_task(desk.ask(IMAGE))
    await asyncio.sleep(0)
    next(images)
    found = result(frame_id=1)
    desk.write(replace(found, encoded=replace(found.encoded, point=LOCAL)))
    assert (await asking).by is AnsweredBy.DEVICE


@in_virtual_time
async def test_a_late_answer_is_replaced_by_the_devices_own_within_the_timeout():
    local = SlowLocal()
    desk = opened(local)
    answer, took_s = await asked(desk)
    assert (answer.by, answer.detections) == (AnsweredBy.RESCUE, LOCAL_FOUND)
    assert took_s == pytest.approx(0.155)  # the device began 60 ms before the timeout less the margin
    assert local.calls == 4  # three of them to learn how long it takes


@in_virtual_time
async def test_without_an_own_detector_a_late_request_is_answered_without_objects_in_time():
    answer, took_s = await asked(opened(None))
    assert (answer.by, len(answer.detections)) == (AnsweredBy.NOBODY, 0)
    assert took_s == pytest.approx(0.175)


@in_virtual_time
async def test_an_own_detector_that_is_too_slow_is_not_asked():
    local = SlowLocal(takes_s=0.3)
    answer, took_s = await asked(opened(local))
    assert (answer.by, local.calls) == (AnsweredBy.NOBODY, 3)
    assert took_s == pytest.approx(0.175)


@in_virtual_time
async def test_several_late_requests_at_once_are_begun_earlier():
    answers = await asyncio.gather(*(asked(desk) for desk in [opened(SlowLocal())] * 3))
    assert {answer.by for answer, _ in answers} == {AnsweredBy.RESCUE}
    assert max(took_s for _, took_s in answers) <= 0.2


@in_virtual_time
async def test_more_requests_than_there_is_room_for_are_answered_at_once():
    desk = opened(None)
    waiting = [asyncio.create_task(desk.ask(IMAGE)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    answer, took_s = await asked(desk)
    assert (answer.by, took_s) == (AnsweredBy.NOBODY, 0.0)
    await asyncio.gather(*waiting)
    assert desk.answers[AnsweredBy.NOBODY] == MAX_WAITING + 1


@in_virtual_time
async def test_an_image_that_has_its_answer_becomes_no_frame_any_more():
    desk = opened(None)
    await desk.ask(IMAGE)
    desk.close()
    assert list(desk.source.images(lambda seconds: False)) == []


@in_virtual_time
async def test_a_result_after_the_answer_is_ignored():
    desk = opened(None)
    images = desk.source.images(lambda seconds: False)
    asking = asyncio.create_task(desk.ask(IMAGE))
    await asyncio.sleep(0)
    next(images)
    await asking
    desk.write(result(frame_id=1))
    desk.write(result(frame_id=77))  # of nobody
    await asyncio.sleep(0)
    assert desk.answers.total() == 1
