"""What `edge-client frigate` and `edge-client http` have in common: a pipeline behind a desk, until a signal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from edge_client.build import BuiltRun, build_run
from edge_client.console import Console
from edge_client.endpoint_config import EndpointConfig
from edge_client.requests.desk import AnsweredBy, Desk
from edge_client.run_command import log_json, metrics_page, report, what_runs
from edge_client.signals import at_first_signal
from splitnet.service_manager import READY, STOPPING, notify, show_life

WORDS = {
    AnsweredBy.SERVER: "by the server",
    AnsweredBy.DEVICE: "by the device",
    AnsweredBy.RESCUE: "by the device since the server was late",
    AnsweredBy.NOBODY: "without objects, since nobody could look in time",
}

Listening = Callable[[BuiltRun], AbstractAsyncContextManager[str]]  # yields what is listened on


def serve_requests(config: EndpointConfig, console: Console, desk: Desk, listening: Listening) -> None:
    """Answer requests until the user ends it. listening: takes requests to the desk while in its block.

    Raises SplitError if it cannot begin, or fails.
    """
    run_config = config.run_config()
    if config.log_format == "json":
        log_json()
    built = build_run(run_config, [desk], console.show_progress, desk.source)
    page = metrics_page(run_config, built)
    console.say(what_runs(built.encoder, built.local))
    if built.local is None:
        console.say("no detector on this device: what the server answers too late is answered without objects")
    try:
        asyncio.run(_serve(built, desk, listening, console))
    finally:
        if page is not None:
            page.close()
    console.say(answers(desk))
    report(built, run_config, console)


def answers(desk: Desk) -> str:
    """Return a line that says who has answered how many requests."""
    parts = [f"{desk.answers[by]} {words}" for by, words in WORDS.items() if desk.answers[by]]
    return ", ".join([f"{desk.answers.total()} requests", *parts])


async def _serve(built: BuiltRun, desk: Desk, listening: Listening, console: Console) -> None:
    stopping = asyncio.Event()
    at_first_signal(stopping.set)
    desk.open(built.local)
    running = asyncio.create_task(built.cameras.run())
    living = asyncio.create_task(show_life())
    try:
        async with listening(built) as address:
            console.say(f"edge-client ready: listening on {address}")
            notify(READY)
            waiting = asyncio.create_task(stopping.wait())
            await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            notify(STOPPING)
    finally:
        living.cancel()
        desk.close()
        built.cameras.stop()
        await running
