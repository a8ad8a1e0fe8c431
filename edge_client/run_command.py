"""The command `edge-client run`."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from pathlib import Path

from edge_client.build import BuiltRun, build_run
from edge_client.camera_group import CameraGroup
from edge_client.camera_name import CameraFilter
from edge_client.config import RunConfig, address_of
from edge_client.console import Console
from edge_client.delivered_model import prepare
from edge_client.encoding.encoder import EncoderRuntime
from edge_client.encoding.local_detector import LocalRuntime
from edge_client.measuring.thermometer import temperature_c
from edge_client.output.advice import advice
from edge_client.output.metrics_page import MetricsPage
from edge_client.output.mode_scores import as_seen, conditions_of_run
from edge_client.output.report import summary_of_all, to_json_of_all
from edge_client.output.statistics import RunStatistics
from edge_client.output.status_line import status_line_of_all
from edge_client.policy_choice import limits_of
from edge_client.signals import at_first_signal
from splitnet.atomic_write import write_json
from splitnet.errors import ConfigError, OutputError
from splitnet.extras import missing_extra
from splitnet.json_log import JsonFormatter
from splitnet.service_manager import READY, STOPPING, notify, show_life

STATUS_INTERVAL_S = 0.5
SAYS_SESSIONS = "edge_client.transport.connection"  # by their names in the server's log


def run(config: RunConfig, console: Console) -> bool:
    """Run until the source or the user ends it; return whether nothing is missing of what was asked for.

    Raises SplitError if it cannot begin, or fails.
    """
    if config.log_format == "json":
        log_json()
    name_cameras()
    delivered = prepare(config, console.show)
    config = delivered.config
    updater = delivered.updater if len(config.cameras) == 1 else None  # else at the next start
    built = build_run(config, on_progress=console.show_progress, updating=updater)
    delivered.begin(built.model, built.class_names)
    page = metrics_page(config, built)
    if page is not None:
        console.say(f"metrics: port {page.port}, /metrics")
    console.say(what_runs(built.encoder, built.local))
    if built.view is not None:
        console.say(f"frames and boxes: {built.view}")
    try:
        asyncio.run(_run_until_signal(built.cameras, console))
    finally:
        if page is not None:
            page.close()
        runs = built.cameras.statistics.values()
        if any(run.sessions or run.detected for run in runs):  # else there is nothing to tell but the error
            report(built, config, console)
    return not (any(run.unreadable for run in runs) or built.cameras.lost_outputs)


def name_cameras() -> None:
    """Let the lines of the log say from now on which camera they are about."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(CameraFilter())


def log_json() -> None:
    """Let the lines of the log be JSON from now on."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonFormatter())
    logging.getLogger(SAYS_SESSIONS).setLevel(logging.INFO)


def metrics_page(config: RunConfig, built: BuiltRun) -> MetricsPage | None:
    """Return the page of a run's metrics, if there is to be one. ConfigError without its port, or the extra."""
    if not config.metrics:
        return None
    try:
        from edge_client.output.metrics import CamerasCollector, RunCollector, exposition, registry_of
    except ModuleNotFoundError as error:
        raise ConfigError(f"--metrics: {missing_extra(error)}") from error
    cameras = built.cameras

    def collector(name: str) -> RunCollector:
        return RunCollector(lambda: cameras.statistics[name], config.deadline_ms, temperature_c)

    collectors = {name: collector(name) for name in cameras.names}
    registry = registry_of(collectors[""] if "" in collectors else CamerasCollector(collectors))
    return MetricsPage(address_of("--metrics", config.metrics), lambda: exposition(registry))


def what_runs(encoder: EncoderRuntime, local: LocalRuntime | None) -> str:
    """Return a line that names the bundle and what computes its networks."""
    manifest = encoder.manifest
    parts = [f"bundle {manifest.name} {manifest.digest[:12]}", f"encoder by {encoder.backend}"]
    return ", ".join(parts if local is None else [*parts, f"local detector {local.name} by {local.backend}"])


async def _run_until_signal(cameras: CameraGroup, console: Console) -> None:
    """Run; the first Ctrl+C, SIGTERM or SIGHUP ends it cleanly, a second one at once."""
    at_first_signal(cameras.stop)
    showing = asyncio.create_task(_show_status(cameras, console)) if console.is_terminal else None
    notify(READY)
    living = asyncio.create_task(show_life())
    try:
        await cameras.run()
    finally:
        notify(STOPPING)
        living.cancel()
        if showing is not None:
            showing.cancel()
            console.keep()


async def _show_status(cameras: CameraGroup, console: Console) -> None:
    while True:
        await asyncio.sleep(STATUS_INTERVAL_S)
        console.show(status_line_of_all(cameras.statistics, time.monotonic()))


def report(built: BuiltRun, config: RunConfig, console: Console) -> None:
    """Say what a run has done, and write its summary if that was asked for. Raises OutputError."""
    now, runs, backend = time.monotonic(), built.cameras.statistics, built.encoder.backend
    console.say(summary_of_all(runs, now, backend))
    advised = {name: _advised(built, run, now, config, len(runs)) for name, run in runs.items()}
    for name, lines in advised.items():
        if lines:
            console.say("\n".join([*([f"{name}:"] if len(runs) > 1 else []), *lines]))
    if config.json_summary is not None:
        told = next(iter(advised.values())) if len(runs) == 1 else advised
        write_result(config.json_summary, {**to_json_of_all(runs, now, backend), "advice": told})


def _advised(built: BuiltRun, run: RunStatistics, now: float, config: RunConfig, cameras: int) -> list[str]:
    """Return the advice for one camera, which has its part of the link and of what the link may carry."""
    limits = limits_of(config)
    conditions = conditions_of_run(run, now, replace(limits, max_kbps=limits.max_kbps / cameras))
    if not built.tables or conditions is None:
        return []
    part = replace(conditions, capacity_bps=conditions.capacity_bps / cameras)
    return advice(as_seen(built.tables, run), part)


def write_result(path: Path, content: object) -> None:
    """Write a JSON file. Raises OutputError."""
    try:
        write_json(path, content)
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}); choose another place") from error
