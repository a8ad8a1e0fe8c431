"""The engine: answers every frame once, in batches, on one thread, whatever is wrong with some of them."""

from __future__ import annotations

import asyncio
import threading

import grpc
import pytest

from cloud_server.engine import Engine
from splitnet.errors import ShedError
from splitnet.messages import FrameDetections, FrameError
from splitnet.operating_point import Mode
from tests.cloud_server.running_engine import Answers, FakeClock, busy, decoded, queued, running
from tests.support.fake_model import BAD, BUG, IMAGE_POINT, POISON, SPLIT_POINT, FakeModel, frame


async def test_a_frame_is_answered_with_its_detections():
    async with running(FakeModel()) as answers:
        answers.submit(frame(7, b"four"))
        answer = (await answers.wait_for(1))[7]
    assert isinstance(answer, FrameDetections)
    assert (answer.frame_id, answer.capture_time_us) == (7, 1007)
    assert answer.detections.labels.tolist() == [4]


async def test_frames_that_arrive_during_a_batch_form_the_next_one():
    model = FakeModel()
    async with running(model) as answers:
        await queued(answers, model, *map(frame, range(1, 6)))
    assert [len(batch) for batch in model.batches] == [1, 5]


async def test_batches_are_no_larger_than_allowed():
    model = FakeModel()
    async with running(model, max_batch_size=2) as answers:
        await queued(answers, model, *map(frame, range(1, 6)))
    assert [len(batch) for batch in model.batches] == [1, 2, 2, 1]


async def test_features_and_pictures_never_share_a_batch():
    model = FakeModel()
    async with running(model) as answers:
        points = [SPLIT_POINT, IMAGE_POINT] * 2
        await queued(answers, model, *(frame(number, point=point) for number, point in enumerate(points, start=1)))
    assert model.kinds == [Mode.SPLIT, Mode.SPLIT, Mode.IMAGE]


async def test_only_the_engines_thread_computes():
    model = FakeModel()
    async with running(model) as answers:
        for number in range(20):
            answers.submit(frame(number), session=number)
        await answers.wait_for(20)
    assert model.threads == {"engine"}


async def test_lanes_compute_as_many_batches_at_once_as_may_be():
    """Three threads, of which two may be under way: the third batch begins when one of them ends."""
    model = FakeModel()
    under_way, meeting, plain_infer = [], threading.Barrier(3), model.infer
    most, lock = [], threading.Lock()

    def infer(mode, batch):
        if b"meet" not in batch:
            return plain_infer(mode, batch)
        with lock:
            under_way.append(batch)
            most.append(len(under_way))
            is_of_the_first_two = len(most) <= 2
        if is_of_the_first_two:  # both are here before either ends
            meeting.wait(timeout=10)
        with lock:
            under_way.remove(batch)
        return plain_infer(mode, batch)

    model.infer = infer
    async with running(model, max_batch_size=1, lanes=3) as answers:
        answers.engine.use_lanes(2)
        for number in range(3):
            answers.submit(frame(number, b"meet"), session=number)
        await asyncio.to_thread(meeting.wait, 10)
        assert len(await answers.wait_for(3)) == 3
    assert max(most) == 2
    assert model.threads <= {"engine", "engine 2", "engine 3"}


async def test_there_is_at_least_one_lane_and_at_most_a_thread_for_each():
    async with running(FakeModel(), lanes=2) as answers:
        for lanes in (0, 99):
            answers.engine.use_lanes(lanes)
            answers.submit(frame(lanes))
        assert set(await answers.wait_for(2)) == {0, 99}


async def test_payloads_that_take_long_to_decode_hold_up_nobody_else():
    """Two threads decode: one session's slow payloads take one of them."""
    model = FakeModel()
    slow, plain_decode = threading.Event(), model.decode

    def decode(one, references):
        assert one.payload != b"slow" or slow.wait(timeout=10)
        return plain_decode(one, references)

    model.decode = decode
    async with running(model) as answers:
        for number in range(4):
            answers.submit(frame(number, b"slow"), session="costly")
        answers.submit(frame(9), session="cheap")
        assert set(await answers.wait_for(1)) == {9}
        slow.set()
        assert len(await answers.wait_for(5)) == 5


async def test_an_undecodable_frame_is_refused_and_the_others_are_answered():
    async with running(FakeModel()) as answers:
        for number, payload in enumerate([b"good", BAD, b"good"]):
            answers.submit(frame(number, payload))
        got = await answers.wait_for(3)
    assert isinstance(got[1], FrameError) and got[1].status is grpc.StatusCode.INVALID_ARGUMENT
    assert got[1].message == "these bytes are not a bitstream"
    assert isinstance(got[0], FrameDetections) and isinstance(got[2], FrameDetections)


async def test_a_bug_in_decoding_is_told_as_internal_without_its_details(caplog):
    async with running(FakeModel()) as answers:
        answers.submit(frame(1, BUG))
        answer = (await answers.wait_for(1))[1]
    assert isinstance(answer, FrameError) and answer.status is grpc.StatusCode.INTERNAL
    assert "bug" not in answer.message
    assert "ZeroDivisionError: a bug of ours" in caplog.text


async def test_a_frame_that_fails_its_batch_harms_only_itself():
    model = FakeModel()
    async with running(model) as answers:
        got = await queued(answers, model, frame(1, b"a"), frame(2, POISON), frame(3, b"c"))
    assert isinstance(got[2], FrameError) and got[2].status is grpc.StatusCode.INTERNAL
    assert isinstance(got[1], FrameDetections) and isinstance(got[3], FrameDetections)


async def test_a_model_that_answers_too_few_frames_does_not_stop_the_engine():
    model = FakeModel()
    real, model.infer = model.infer, lambda kind, batch: []
    async with running(model) as answers:
        answers.submit(frame(1))
        assert isinstance((await answers.wait_for(1))[1], FrameError)
        model.infer = real
        answers.submit(frame(2))
        assert isinstance((await answers.wait_for(2))[2], FrameDetections)


async def test_a_full_queue_sheds():
    model = FakeModel()
    async with running(model, max_queue=2) as answers:
        await busy(answers, model)
        answers.submit(frame(1)), answers.submit(frame(2))
        with pytest.raises(ShedError):
            answers.submit(frame(3))
        model.gate.set()
        assert sorted(await answers.wait_for(3)) == [0, 1, 2]


async def test_a_frame_whose_deadline_passed_in_the_queue_is_not_computed():
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock=clock) as answers:
        await busy(answers, model)
        answers.submit(frame(1, b"late", deadline_ms=200))
        answers.submit(frame(2, b"in time", deadline_ms=500))
        await decoded(answers.engine)
        clock.now += 0.3
        model.gate.set()
        got = await answers.wait_for(3)
    assert isinstance(got[1], FrameError) and got[1].status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "200 ms" in got[1].message
    assert isinstance(got[2], FrameDetections)
    assert model.batches == [[b"x"], [b"in time"]]


async def test_a_cancelled_frame_is_neither_computed_nor_answered():
    model = FakeModel()
    async with running(model) as answers:
        await busy(answers, model)
        gone, stays = answers.submit(frame(1, b"gone")), answers.submit(frame(2, b"stays"))
        await decoded(answers.engine)
        answers.engine.cancel(gone)
        model.gate.set()
        got = await answers.wait_for(2)
    assert sorted(got) == [0, stays.frame.frame_id]
    assert model.batches == [[b"x"], [b"stays"]]


async def test_a_frame_cancelled_while_it_is_computed_is_not_answered():
    model = FakeModel()
    async with running(model) as answers:
        model.gate.clear()
        gone = answers.submit(frame(1))
        assert await asyncio.to_thread(model.entered.wait, 10)
        answers.engine.cancel(gone)
        model.gate.set()
        answers.submit(frame(2))
        assert sorted(await answers.wait_for(1)) == [2]


async def test_depth_counts_frames_until_their_batch_starts():
    model = FakeModel()
    async with running(model) as answers:
        await busy(answers, model)
        assert answers.engine.depth == 0
        answers.submit(frame(1))
        assert answers.engine.depth == 1
        model.gate.set()
        await answers.wait_for(2)
        assert answers.engine.depth == 0


async def test_timing_says_how_long_a_frame_waited_was_decoded_and_computed():
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock=clock) as answers:
        await busy(answers, model)
        answers.submit(frame(1))
        await decoded(answers.engine)
        clock.now += 0.25
        model.gate.set()
        got = await answers.wait_for(2)
    assert isinstance(got[0], FrameDetections) and isinstance(got[1], FrameDetections)
    assert got[0].timing.infer_ms == pytest.approx(250) and got[0].timing.wait_ms == 0
    assert got[1].timing.wait_ms == pytest.approx(250) and got[1].timing.decode_ms == 0


async def test_a_frame_that_gives_way_is_told_so_once():
    model = FakeModel()
    async with running(model, max_queue=2) as answers:
        await busy(answers, model)
        answers.submit(frame(1), "flood"), answers.submit(frame(2), "flood"), answers.submit(frame(3), "calm")
        got = await answers.wait_for(1)
        assert got[2].status is grpc.StatusCode.RESOURCE_EXHAUSTED and "gave way" in got[2].message
        model.gate.set()
        got = await answers.wait_for(4)
    assert isinstance(got[1], FrameDetections) and isinstance(got[3], FrameDetections)


async def test_a_frame_that_would_be_late_is_told_so_and_not_computed():
    model, clock = FakeModel(), FakeClock()
    async with running(model, clock=clock) as answers:
        await busy(answers, model)
        for _ in range(100):
            answers.engine._observe((model.digest, Mode.SPLIT), 1, 500.0)
        answers.submit(frame(1, deadline_ms=2000))
        answers.submit(frame(2))  # without it the engine would try
        await decoded(answers.engine)
        model.gate.set()
        got = await answers.wait_for(3)
    assert got[1].status is grpc.StatusCode.RESOURCE_EXHAUSTED and "would be late" in got[1].message
    assert model.batches == [[b"x"], [b"x"]]


async def test_the_sizes_of_batches_are_counted():
    model = FakeModel()
    async with running(model) as answers:
        await queued(answers, model, *map(frame, range(1, 4)))
        assert answers.engine.batch_sizes == {1: 1, 3: 1}


async def test_stopping_drops_what_waits_and_ends_the_thread():
    model = FakeModel()
    engine: Engine[bytes] = Engine(1, 8)
    engine.start(asyncio.get_running_loop().call_soon_threadsafe)
    answers = Answers(engine, model)
    await busy(answers, model)
    answers.submit(frame(1))
    stopping = asyncio.create_task(asyncio.to_thread(engine.stop))
    await asyncio.to_thread(_until_stopping, engine)
    model.gate.set()
    await stopping
    assert not any(thread.is_alive() for thread in engine._threads)
    assert sorted(answers.of) == [0]


def _until_stopping(engine: Engine[bytes]) -> None:
    with engine._changed:
        assert engine._changed.wait_for(lambda: engine._stopping, timeout=10)
