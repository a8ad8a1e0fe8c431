"""Reports to a real broker: what a subscriber sees, before and after the broker has died."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from splitnet.outputs.change_feed import Observation
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.outputs.reporter import Reporter
from splitnet.outputs.tracker import Sighting
from tests.support.mosquitto import Mosquitto

PATIENCE_S = 30.0
CAMERA = "yard/+"  # a name that would match others
YARD = "slimsplit/yard%2F%2B"


@pytest.fixture(scope="module")
def broker(tmp_path_factory) -> Iterator[Mosquitto]:
    one = Mosquitto(tmp_path_factory.mktemp("mosquitto"))
    one.start()
    yield one
    one.stop()


def config(broker: Mosquitto, **settings: object) -> OutputsConfig:
    return OutputsConfig(mqtt_url=f"mqtt://127.0.0.1:{broker.port}", classes=["person"], gone_s=3600, **settings)


def show(reporter: Reporter, *times: float, label: str = "person") -> None:
    for seconds in times:
        box = Sighting(label, 0.9, (10.0, 10.0, 30.0, 60.0))
        reporter.observe(Observation(reporter.name, time.time() + seconds, 100, 100, [box]))


class Subscriber:
    """Everything that a client sees below a topic, the latest of each."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.latest: dict[str, str] = {}
        self.all: list[tuple[str, str]] = []

    async def until(self, topic: str, payload: str | None = None) -> str:
        """Return what is said on a topic, once it is this, or anything."""

        async def read() -> str:
            if topic in self.latest and payload in (None, self.latest[topic]):
                return self.latest[topic]
            async for message in self.client.messages:
                assert isinstance(message.payload, bytes)
                self.latest[str(message.topic)] = message.payload.decode()
                self.all.append((str(message.topic), message.payload.decode()))
                if str(message.topic) == topic and payload in (None, message.payload.decode()):
                    return message.payload.decode()
            raise AssertionError

        return await asyncio.wait_for(read(), PATIENCE_S)


@asynccontextmanager
async def subscribed(broker: Mosquitto, *topics: str) -> AsyncIterator[Subscriber]:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        for topic in topics:
            await client.subscribe(topic, qos=1)
        yield Subscriber(client)


async def test_a_camera_is_announced_counted_and_told_of(broker):
    reporter = Reporter(config(broker), CAMERA)
    async with subscribed(broker, "slimsplit/#", "homeassistant/#") as seen:
        reporter.start()
        show(reporter, 0.0, 1.0)
        await seen.until(f"{YARD}/availability", "online")
        event = json.loads(await seen.until(f"{YARD}/events"))
        assert (event["type"], event["after"]["camera"], event["after"]["label"]) == ("new", CAMERA, "person")
        await seen.until(f"{YARD}/count/person", "1")
        announced = {topic: json.loads(text) for topic, text in seen.latest.items() if topic.endswith("/config")}
        assert {one["name"] for one in announced.values()} == {"person", "frames a second", "link quality"}
        assert {one["availability_topic"] for one in announced.values()} == {f"{YARD}/availability"}
        await asyncio.to_thread(reporter.close)
        await seen.until(f"{YARD}/availability", "offline")
    assert not [topic for topic, _ in seen.all if "/frames" in topic]


async def test_what_an_earlier_run_left_behind_is_put_right(broker):
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        for topic, payload in (("count/person", "7"), ("count/dog", "2"), ("zone/gone/count/dog", "1")):
            await client.publish(f"{YARD}/{topic}", payload, qos=1, retain=True)
    reporter = Reporter(config(broker), CAMERA)
    async with subscribed(broker, f"{YARD}/#") as seen:
        reporter.start()
        show(reporter, 0.0)
        await seen.until(f"{YARD}/count/person", "0")
        await seen.until(f"{YARD}/count/dog", "0")
        await seen.until(f"{YARD}/zone/gone/count/dog", "")
    await asyncio.to_thread(reporter.close)


async def test_a_broker_that_dies_holds_nobody_up_and_learns_everything_when_it_is_back(broker, caplog):
    reporter = Reporter(config(broker, mqtt_frames=True), CAMERA)
    reporter.start()
    async with subscribed(broker, f"{YARD}/#") as seen:
        show(reporter, 0.0, 1.0)
        await seen.until(f"{YARD}/count/person", "1")
    broker.stop()
    begin = time.perf_counter()
    show(reporter, *(1.0 + step / 1000 for step in range(2000)))
    assert time.perf_counter() - begin < 5  # nothing waits for the broker
    broker.start()
    async with subscribed(broker, f"{YARD}/#") as seen:
        await seen.until(f"{YARD}/availability", "online")
        await seen.until(f"{YARD}/count/person", "1")
        frame = json.loads(await seen.until(f"{YARD}/frames"))
        assert frame["detections"] == [{"label": "person", "score": 0.9, "box": [10.0, 10.0, 30.0, 60.0]}]
    await asyncio.to_thread(reporter.close)
    told = [record.getMessage() for record in caplog.records if record.name == "splitnet.outputs.mqtt"]
    assert sum("no MQTT broker at 127.0.0.1" in line for line in told) == 1
    assert sum("connected to the MQTT broker again" in line for line in told) == 1


async def test_a_killed_reporter_is_declared_offline_by_the_broker(broker):
    reporter = Reporter(config(broker), "killed")
    async with subscribed(broker, "slimsplit/killed/#") as seen:
        reporter.start()
        await seen.until("slimsplit/killed/availability", "online")
        publisher = reporter._publisher
        assert publisher is not None and publisher._client is not None
        connection = publisher._client._client.socket()
        connection.shutdown(2)  # as when the machine has gone
        await seen.until("slimsplit/killed/availability", "offline")
        await seen.until("slimsplit/killed/availability", "online")  # it comes back by itself
    await asyncio.to_thread(reporter.close)


async def test_a_wrong_password_is_told_once_without_it(broker, tmp_path, caplog):
    if not broker.has_passwords:
        pytest.skip("no mosquitto_passwd here")
    secret = tmp_path / "password"
    secret.write_text("wrong and secret\n")
    settings = {"mqtt_user": "camera", "mqtt_password_file": secret}
    reporter = Reporter(config(broker, **settings), "locked")
    with caplog.at_level(logging.DEBUG):
        reporter.start()
        until = time.monotonic() + PATIENCE_S
        while not any("no MQTT broker" in record.getMessage() for record in caplog.records):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
        await asyncio.to_thread(reporter.close)
    assert "secret" not in caplog.text
