"""A device of a group: its settings, the numbers of its frames, and what becomes of their parts."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from edge_client.adaptation.policy import FixedPolicy
from edge_client.capture.pacer import Pacer
from edge_client.capture.source import FrameStamp, SourceImage
from edge_client.config import RunConfig
from edge_client.group_config import parse_part
from edge_client.group_run import shared_camera, stream_of
from edge_client.output.detection_record import detection_record
from edge_client.output.report import summary, to_json
from edge_client.output.sinks import CallbackSink
from edge_client.output.status_line import status_line
from edge_client.pipeline import Pipeline
from edge_client.pipeline_settings import PipelineSettings
from splitnet.errors import ConfigError, ProtocolError
from splitnet.messages import GroupPlace
from tests.edge_client.test_pipeline import POINT, FakeEncoder, FakeSource
from tests.support.fake_server import OPENED, FakeService, ack_and_detect, serving

PLACE = GroupPlace("yard", 2, 4)


def config(**given) -> RunConfig:
    return RunConfig(**{"server": "h:1", "source": "0", "group": "yard", "part": (2, 4), **given})


@pytest.mark.parametrize("text", ["2", "0/4", "5/4", "1/65", "a/b", "1/4/2", ""])
def test_a_part_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="--part is K/N, such as 2/4"):
        parse_part(text)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"part": None}, "needs both: --group NAME and --part K/N"),
        ({"group": ""}, "needs both"),
        ({"group": "", "part": None, "spare": True}, "--spare and --group-listen belong to a group"),
        ({"group": "y" * 65}, "at most 64 characters"),
        ({"mode": "image"}, "leave --mode, --further-bundle, --in-layers and --schedule out"),
        ({"in_layers": True}, "leave --mode"),
        ({"source": ["0", "1"]}, "a group looks at one camera"),
        ({"source": "group://h:1", "group_listen": "h:2"}, "not handed on again"),
        ({"group_listen": "h"}, "--group-listen takes HOST:PORT"),
        ({"group_listen": "h:2", "as_fast_as_possible": True}, "at a camera's pace"),
        ({"group_jpeg_quality": 0}, "between 1 and 100"),
    ],
)
def test_settings_of_a_group_that_contradict_one_another_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        config(**given)


def test_the_place_is_that_of_the_settings():
    assert config(spare=True).place == GroupPlace("yard", 2, 4, spare=True)
    assert RunConfig(server="h:1", source="0").place is None


def test_devices_that_read_the_same_file_number_its_frames_alike(tmp_path):
    folder, file = tmp_path / "images", tmp_path / "clip.mp4"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"a")
    file.write_bytes(b"clip")
    for source in (folder, file):
        assert stream_of(config(source=str(source))) == stream_of(config(source=str(source), part=(1, 4))) != 0
    before = stream_of(config(source=str(file)))
    file.write_bytes(b"another")
    assert stream_of(config(source=str(file))) != before
    listening = config(source=str(file), group_listen="127.0.0.1:1")
    assert stream_of(listening) != stream_of(listening)  # another run, another number
    assert stream_of(RunConfig(server="h:1", source=str(file))) == 0


def test_each_device_with_a_camera_of_its_own_is_refused():
    with pytest.raises(ConfigError, match="all devices of a group look at one camera: give its owner --group-listen"):
        stream_of(config(source="0"))
    assert stream_of(config(source="0", part=(1, 1)))
    assert stream_of(config(source="group://h:1"))


def test_an_open_camera_without_a_password_is_warned_of(tmp_path, caplog):
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        caplog.clear()
        camera = shared_camera(config(group_listen=f"{host}:0"))
        assert camera is not None
        camera.close()
        assert ("give --group-password-file" in caplog.text) == warned
    secret = tmp_path / "secret"
    secret.write_text("short\n")
    with pytest.raises(ConfigError, match="--group-password-file"):
        shared_camera(config(group_listen="127.0.0.1:0", group_password_file=secret))
    assert shared_camera(config()) is None


async def run(parts, place=PLACE, opened=None, count: int = 3):
    """Return the results, the pipeline and the service of a run whose frames are answered by some parts each."""
    results, service = [], FakeService(opened or replace(OPENED, group=place))
    answers = iter(parts)

    def answer(frame):
        ack, found = ack_and_detect(frame)
        return [ack, replace(found, parts_used=next(answers))]

    service.answer = answer
    async with serving(service) as address:
        settings = PipelineSettings(
            address, live=False, deadline_ms=60_000, max_in_flight=1, place=place, group_stream=77
        )
        pipeline = Pipeline(
            FakeSource(count), FakeEncoder(), FixedPolicy(POINT), [CallbackSink(results.append)], settings
        )
        await pipeline.run()
    return results, pipeline, service


async def test_frames_carry_the_run_of_the_camera_and_results_the_parts():
    results, pipeline, service = await run([(1, 2, 3, 4), (1, 3, 4), (1, 2)])
    assert [one.group_stream for one in service.frames] == [77] * 3
    assert [one.parts_used for one in results] == [(1, 2, 3, 4), (1, 3, 4), (1, 2)]
    assert detection_record(results[1], ["x"])["parts"] == [1, 3, 4]
    statistics = pipeline.statistics
    assert (statistics.degraded, statistics.unused, statistics.missing) == (2, 1, {2: 1, 3: 1, 4: 1})
    assert "parts 12--" in status_line(statistics, statistics.started)
    told = summary(statistics, statistics.started + 1, "torch")
    assert "group yard 2/4: 2 of 3 answers lacked a part (part 2 in 1, part 3 in 1, part 4 in 1)" in told
    assert to_json(statistics, 1.0, "torch")["group"] == {
        "name": "yard",
        "part": 2,
        "parts": 4,
        "spare": False,
        "degraded": 2,
        "unused": 1,
        "missing": {"2": 1, "3": 1, "4": 1},
    }


async def test_a_run_alone_says_nothing_of_parts():
    results, pipeline, _ = await run([(), (), ()], place=None, opened=OPENED)
    assert "parts" not in detection_record(results[0], ["x"])
    assert "group" not in json.dumps(to_json(pipeline.statistics, 1.0, "torch"))


async def test_a_server_that_knows_no_groups_is_named():
    with pytest.raises(ProtocolError, match="the server does not know groups of devices: bring it up to date"):
        await run([], opened=OPENED)


async def test_what_the_owner_takes_is_handed_on_so_all_devices_look_at_the_same_frames():
    given = []

    class Hands:
        closed = False

        def give(self, frame):
            given.append((frame.stream, frame.frame_id))

        def close(self):
            self.closed = True

    hands, service = Hands(), FakeService(replace(OPENED, group=PLACE))
    async with serving(service) as address:
        settings = PipelineSettings(address, live=False, place=PLACE, group_stream=5)
        await Pipeline(FakeSource(3), FakeEncoder(), FixedPolicy(POINT), [], settings, hands_on=hands).run()
    assert list(dict.fromkeys(given)) == [(5, 1), (5, 2), (5, 3)] and hands.closed
    assert given.count((5, 3)) == 1


async def test_an_owner_without_a_link_hands_everything_on():
    given = []

    class Hands:
        def give(self, frame):
            given.append(frame.frame_id)

        def close(self):
            pass

    settings = PipelineSettings("127.0.0.1:1", place=PLACE, group_stream=5, answer_timeout_s=0.1)
    source = FakeSource(3)
    source.finite = False
    pipeline = Pipeline(source, FakeEncoder(), FixedPolicy(POINT), [], settings, hands_on=Hands())
    await pipeline.run()
    assert given == [1, 2, 3]


def test_a_stamped_image_becomes_the_frame_that_its_owner_has_numbered():
    class Stamped:
        finite, fps, unreadable = False, 10.0, 0

        def images(self, wait):
            yield SourceImage(0.0, np.zeros((2, 2, 3), np.uint8), stamp=FrameStamp(9, 40, 0.5))

    (frame,) = Pacer(True, lambda: 100.0, lambda: 1000.0, stream=3).frames(Stamped(), lambda seconds: False)
    assert (frame.stream, frame.frame_id, frame.capture_time, frame.unix_time) == (9, 40, 99.5, 999.5)


async def test_a_camera_that_counts_anew_costs_the_frame_in_flight_and_no_place_on_the_link():
    service = FakeService(replace(OPENED, group=PLACE))
    answers = iter([[], *([None] * 3)])
    service.answer = lambda frame: ack_and_detect(frame) if next(answers) is None else []

    class CountsAnew(FakeSource):
        def images(self, wait):
            for number in (1, 1, 2, 3):
                yield SourceImage(0.0, np.zeros((4, 4, 3), np.uint8), stamp=FrameStamp(number, number, 0.0))

    async with serving(service) as address:
        settings = PipelineSettings(address, live=False, max_in_flight=2, place=PLACE)
        pipeline = Pipeline(CountsAnew(4), FakeEncoder(), FixedPolicy(POINT), [], settings)
        statistics = await pipeline.run()
    assert (statistics.answered, statistics.lost) == (3, 1)
