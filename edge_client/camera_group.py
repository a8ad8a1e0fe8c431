"""The cameras of one device: a pipeline each, in one event loop. What they share was put into them by `build`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from edge_client.camera_name import CAMERA
from edge_client.output.statistics import RunStatistics
from edge_client.pipeline import Pipeline
from splitnet.errors import SplitError

logger = logging.getLogger(__name__)


class CameraGroup:
    """Runs one pipeline for each camera, once. One that fails leaves the others alone."""

    def __init__(self, pipelines: Mapping[str, Pipeline]) -> None:
        """Take the pipelines by the names of their cameras; the only one may have none."""
        self._pipelines = dict(pipelines)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the cameras, in order."""
        return tuple(self._pipelines)

    @property
    def only(self) -> Pipeline:
        """The pipeline, where there is one."""
        (pipeline,) = self._pipelines.values()
        return pipeline

    @property
    def statistics(self) -> Mapping[str, RunStatistics]:
        """What has become of each camera's frames so far."""
        return {name: pipeline.statistics for name, pipeline in self._pipelines.items()}

    @property
    def lost_outputs(self) -> tuple[str, ...]:
        """The sinks and recorders that have failed, each once."""
        failed = (name for pipeline in self._pipelines.values() for name in pipeline.lost_outputs)
        return tuple(dict.fromkeys(failed))

    def run_blocking(self) -> Mapping[str, RunStatistics]:
        """Run in an event loop of its own; see `run`."""
        return asyncio.run(self.run())

    async def run(self) -> Mapping[str, RunStatistics]:
        """Run until every camera's pipeline has ended; see `Pipeline.run`.

        Raises the first SplitError that has ended one of them, once all have ended; anything else ends all at once.
        """
        tasks = [asyncio.create_task(self._run(name, pipeline)) for name, pipeline in self._pipelines.items()]
        try:
            errors = [error for error in await asyncio.gather(*tasks) if error is not None]
        finally:
            self.stop()
            await asyncio.wait(tasks)
        if errors:
            raise errors[0]
        return self.statistics

    async def _run(self, name: str, pipeline: Pipeline) -> SplitError | None:
        CAMERA.set(name)  # for this task, and for the threads and tasks that it starts
        try:
            await pipeline.run()
        except SplitError as error:
            if len(self._pipelines) > 1:
                logger.error("this camera has ended, the others go on: %s", error)
            return error
        return None

    def stop(self) -> None:
        """End every pipeline soon; see `Pipeline.stop`. From any thread."""
        for pipeline in self._pipelines.values():
            pipeline.stop()
