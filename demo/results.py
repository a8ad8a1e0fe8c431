"""The folder of the demo's results, in which a run that fails leaves those of the last one alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splitnet.errors import ConfigError

UNFINISHED = "unfinished"  # the folder of a run that goes on, or has failed


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder inside a folder; what is written there replaces the last results when the block ends.

    If it ends by an exception the last results stay as they are, and what was written stays where it is. Raises
    ConfigError if the folder cannot be made.
    """
    work = folder / UNFINISHED
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror}); choose another --out") from error
    yield work
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    for path in work.iterdir():
        path.replace(folder / path.name)
    work.rmdir()


SHOWN = {  # results and what they are, in the order of interest
    "overview.jpg": "every photograph at every point",
    "clip.mp4": "annotated clip",
    "chart.png": "bytes and latency over time",
    "adapting.png": "how it adapts",
    "detections.jsonl": "detections",
    "summary.json": "these figures",
}
FILES = (*SHOWN, "client.json", "adapting.jsonl", "adapting.link.csv", "server.log", "relay.log")
