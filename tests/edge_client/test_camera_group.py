"""Several cameras in one process: a pipeline each, of which one may end without the others."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from edge_client.camera_group import CameraGroup
from edge_client.camera_name import CAMERA
from edge_client.pipeline import Pipeline
from splitnet.errors import SourceError


class FakePipeline:
    """Runs until it is stopped, or ends at once with an error."""

    def __init__(self, error: BaseException | None = None, lost: tuple[str, ...] = ()) -> None:
        self.error, self.lost_outputs = error, lost
        self.statistics = object()
        self.stopped = asyncio.Event()
        self.camera = ""

    async def run(self) -> Any:
        self.camera = CAMERA.get()
        if self.error is not None:
            raise self.error
        await self.stopped.wait()
        return self.statistics

    def stop(self) -> None:
        self.stopped.set()


def group_of(**pipelines: FakePipeline) -> CameraGroup:
    return CameraGroup({name: cast(Pipeline, one) for name, one in pipelines.items()})


async def test_a_camera_that_fails_leaves_the_others_alone_and_is_told_when_all_have_ended(caplog):
    front, yard = FakePipeline(), FakePipeline(SourceError("the cable is out"))
    running = asyncio.create_task(group_of(front=front, yard=yard).run())
    while not caplog.records:
        await asyncio.sleep(0)
    assert "this camera has ended, the others go on: the cable is out" in caplog.text
    assert not running.done() and not front.stopped.is_set()
    front.stop()
    with pytest.raises(SourceError, match="the cable is out"):
        await running


async def test_each_pipeline_runs_under_the_name_of_its_camera():
    front, yard = FakePipeline(), FakePipeline()
    group = group_of(front=front, yard=yard)
    running = asyncio.create_task(group.run())
    while not (front.camera and yard.camera):
        await asyncio.sleep(0)
    group.stop()
    assert await running == {"front": front.statistics, "yard": yard.statistics}
    assert (front.camera, yard.camera, CAMERA.get()) == ("front", "yard", "")


async def test_a_fault_of_the_program_ends_all():
    front, yard = FakePipeline(), FakePipeline(RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        await group_of(front=front, yard=yard).run()
    assert front.stopped.is_set()


async def test_an_output_that_several_cameras_share_is_lost_once():
    group = group_of(front=FakePipeline(lost=("found.jsonl",)), yard=FakePipeline(lost=("found.jsonl", "trace.jsonl")))
    assert group.lost_outputs == ("found.jsonl", "trace.jsonl")
    assert group.names == ("front", "yard")
