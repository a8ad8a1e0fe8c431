"""A run of the demo: a server, a client through all operating points, then one that adapts; what they leave behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness.drawing import LIGHT
from benchmarks.harness.images import sample_images
from benchmarks.harness.plot import draw_run
from benchmarks.harness.processes import ServerProcess, server_process
from benchmarks.harness.run_trace import link_beside, read_run
from benchmarks.harness.traces import read_trace
from demo.adapting import phase_rows, run_ordeal
from demo.answers import Answer, read_answers
from demo.changes import compare
from demo.chart import draw_chart
from demo.client import ClientFiles, client_command, run_client, source_address
from demo.ordeal import Ordeal, ordeal_for
from demo.overview import write_overview
from demo.results import replacing
from demo.schedule import FPS, ROUNDS, STILL_FRAMES, operating_points
from demo.stills import write_stills
from demo.summary import summarise
from splitnet.atomic_write import write_json
from splitnet.manifest import load_manifest

Json = dict[str, Any]


class Run:
    """One run of the demo."""

    def __init__(
        self, bundle: Path, out: Path, source: str | None, frames: int | None, say: Callable[[str], None]
    ) -> None:
        """Take a bundle, a folder for the results, what to show (photographs if None), and who is told the steps."""
        self.out = out.resolve()
        self._bundle = bundle
        self._source = source
        self._frames = frames
        self._say = say

    def follow(self) -> tuple[bool, Json]:
        """Return whether it came to its end, not to a Ctrl+C, and its summary; the last results are replaced.

        They stay as they are if it ends without an answer. Raises SplitError if something fails, KeyboardInterrupt if
        Ctrl+C was pressed before the first answer.
        """
        self._manifest = load_manifest(self._bundle)
        self._points = operating_points(self._manifest)
        self._names = [str(point) for point in self._points]
        given = None if self._source is None else source_address(self._source)
        with replacing(self.out) as folder, self._shown(given) as source:
            files = ClientFiles.inside(folder)
            complete, adapting = self._measure(source, files)
            answers = read_answers(files.detections)
            if not (answers or complete):
                raise KeyboardInterrupt
            summary = {**summarise(self._manifest, answers, self._names, files.counts()), **adapting}
            write_json(folder / "summary.json", summary)
            self._draw(answers, files)
        return complete, summary

    @contextmanager
    def _shown(self, given: str | None) -> Iterator[str]:
        """Yield the user's source, or a folder of photographs that lasts as long as the block."""
        if given is not None:
            yield given
            return
        with tempfile.TemporaryDirectory(prefix="slimsplit-demo-") as folder:
            photographs = sample_images()
            self._say(f"photographs: {', '.join(photographs)}")
            write_stills(Path(folder), photographs, self._frames or STILL_FRAMES)
            yield folder

    def _measure(self, source: str, files: ClientFiles) -> tuple[bool, Json]:
        """Run server and clients; returns whether they came to their end, and what the adapting one adds."""
        self._say("starting cloud-server")
        with server_process(self._bundle, files.folder / "server.log") as server:
            self._say(f"server ready on {server.address}; starting edge-client: {', '.join(self._names)}")
            frames = self._frames or 0
            command = client_command(server.address, source, self._bundle, self._points, frames, files)
            if not run_client(command, server):
                return False, {}
            changes = self._compare(server, files)
            if changes is None:
                return False, {}
            ordeal = ordeal_for(self._manifest, read_answers(files.detections), self._names[0])
            if ordeal is None:
                return True, changes
            adapting = self._adapt(server, source, ordeal, files)
            return bool(adapting), {**changes, **adapting}

    def _compare(self, server: ServerProcess, files: ClientFiles) -> Json | None:
        """Send a clip with and without references; returns that part of the summary, None after Ctrl+C."""
        self._say("a camera that rests: each frame by itself, and as changes")
        rows = compare(server, self._bundle, self._manifest, files.folder)
        return None if rows is None else {"changes": rows}

    def _adapt(self, server: ServerProcess, source: str, ordeal: Ordeal, files: ClientFiles) -> Json:
        """Run the client under changing conditions; returns its part of the summary, {} after Ctrl+C."""
        names = ", ".join(f"{phase.name} ({phase.mbps:g} Mbps)" for phase in ordeal.phases)
        self._say(f"starting edge-client with a deadline of {ordeal.deadline_ms} ms: {names}")
        if not run_ordeal(server, source, self._bundle, ordeal, files):
            return {}
        return {"adapting": {"deadline_ms": ordeal.deadline_ms, "phases": phase_rows(read_run(files.trace), ordeal)}}

    def _draw(self, answers: Sequence[Answer], files: ClientFiles) -> None:
        if not answers:
            return
        self._say("drawing")
        draw_chart(files.folder / "chart.png", answers, self._names)
        shown_s = (self._frames or STILL_FRAMES) / FPS if self._source is None else None
        write_overview(files.folder / "overview.jpg", files.clip, answers, self._names, ROUNDS, shown_s)
        if (link := link_beside(files.trace)).exists():
            draw_run(files.folder / "adapting.png", read_run(files.trace), read_trace(link), LIGHT)
