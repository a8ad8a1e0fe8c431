"""What it costs a server to be watched: its status page with many devices, its metrics, and the counts behind them.

Processor time of this process, which does nothing else. The page is asked over loopback as a browser does it.
"""

from __future__ import annotations

import asyncio
import time
from argparse import ArgumentParser, Namespace

from benchmarks.harness.benchmark import Benchmark
from cloud_server.fleet.fleet import Fleet, SessionWatch
from cloud_server.status_page.access import Access
from cloud_server.status_page.facts import Bundle, ServerFacts
from cloud_server.status_page.metrics import exposition, metrics_of
from cloud_server.status_page.site import StatusSite, listening
from splitnet.detections import Detections
from splitnet.device_status import DeviceDecision, DeviceStatus, FrameCounts
from splitnet.errors import ConfigError
from splitnet.messages import Frame, FrameDetections, ServerTiming
from splitnet.operating_point import Codec, OperatingPoint

POINT = OperatingPoint(Codec.RANS, 4, 5)
ANSWER = FrameDetections(1, 1, Detections.empty(), ServerTiming(3.0, 1.0, 22.0))
FRAMES_PER_S = 100  # of the whole server, for the share of the counts
FRAMES = 20_000
SCRAPES = 20
EVENTS = 200  # made for one viewer


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--devices", type=int, default=200, help="devices with open sessions (%(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long a viewer looks (%(default)s)")


def run(options: Namespace) -> dict[str, object]:
    """Return shares of one core: of the page while somebody looks, of counts, of a scrape every 15 s."""
    if options.devices < 1 or options.seconds <= 0:
        raise ConfigError("--devices and --seconds must be positive")
    fleet = Fleet()
    fleet.is_serving = True
    watches = [_device(fleet, number) for number in range(options.devices)]
    facts = ServerFacts(
        "slimsplit", "edge:50051", fleet, lambda: 2, lambda: {1: 3}, lambda: [Bundle("coco-nano", "ab" * 32, 6.1)]
    )
    counting = _counting_us(watches[0])
    scrape_ms = _scraping_ms(facts)
    event_ms, event_bytes = asyncio.run(_event(facts))
    looking = asyncio.run(_looking(facts, watches, options.seconds))
    return {
        "devices": options.devices,
        "page_share": round(looking, 5),
        "event_ms": round(event_ms, 3),
        "event_bytes": event_bytes,
        "frame_us": round(counting, 2),
        "counts_share_at_100_fps": round(counting * FRAMES_PER_S / 1e6, 5),
        "scrape_ms": round(scrape_ms, 2),
        "scrape_share_every_15_s": round(scrape_ms / 15_000, 5),
    }


BENCHMARK = Benchmark("watching", "what the status page and the metrics cost a server", _add_arguments, run)


def _device(fleet: Fleet, number: int) -> SessionWatch:
    name, host = f"camera-{number:03}", f"ipv4:192.0.2.{number % 250}"
    watch = fleet.opened(time.monotonic(), name, host, f"session-{number}", "coco-nano", "ab" * 32)
    _report(watch, 0)
    return watch


def _report(watch: SessionWatch, second: int) -> None:
    """Let a device say how it does, as it does once a second."""
    decision = DeviceDecision(10 * second, "w4 q5", "most accurate in time", 120.0)
    frames = FrameCounts(10 * second, 9 * second, 0, second)
    status = DeviceStatus(
        "slimsplit", "Raspberry Pi 5", float(second), frames, 9000 * second, "w4 q5", 200.0, 90.0, 140.0
    )
    watch.reported(time.monotonic(), status)
    watch.device.decisions.append(decision)


def _counting_us(watch: SessionWatch) -> float:
    """Return the time that a frame and its answer take to count."""
    frame = Frame(1, 1, POINT, b"x" * 3000, 640, 480)
    begun = time.process_time()
    for _ in range(FRAMES):
        watch.frame(1.0, frame)
        watch.answer(1.0, ANSWER, 200)
    return (time.process_time() - begun) / FRAMES * 1e6


def _scraping_ms(facts: ServerFacts) -> float:
    registry = metrics_of(facts)
    begun = time.process_time()
    for _ in range(SCRAPES):
        exposition(registry)
    return (time.process_time() - begun) / SCRAPES * 1000


async def _event(facts: ServerFacts) -> tuple[float, int]:
    """Return the time to make an event, and its bytes."""
    broadcaster = StatusSite(facts, Access(None)).broadcaster
    queue = broadcaster.enter()
    assert queue is not None
    begun = time.process_time()
    for _ in range(EVENTS):
        broadcaster.leave(queue)
        queue = broadcaster.enter()
        assert queue is not None
    used = time.process_time() - begun
    event = queue.get_nowait()
    broadcaster.close()
    return used / EVENTS * 1000, len(event or b"")


async def _looking(facts: ServerFacts, watches: list[SessionWatch], seconds: float) -> float:
    """Return the share of a core that the page takes, less what the same second takes while nobody looks."""
    async with listening(facts, Access(None), "127.0.0.1", 0) as address:
        alone = await _share(watches, seconds)
        viewer = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--no-buffer", "--output", "/dev/null", f"http://{address}/api/v1/events"
        )
        looking = await _share(watches, seconds)
        viewer.terminate()
        await viewer.wait()
    return max(0.0, looking - alone)


async def _share(watches: list[SessionWatch], seconds: float) -> float:
    begun, used = time.monotonic(), time.process_time()
    for second in range(1, round(seconds) + 1):
        for watch in watches:
            _report(watch, second)
        await asyncio.sleep(1)
    return (time.process_time() - used) / (time.monotonic() - begun)
