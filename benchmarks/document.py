"""Write the figures of docs/results into the tables of README and docs, between their markers.

A marker pair is `<!-- begin NAME -->` and `<!-- end NAME -->`, each on a line of its own. Each room of the
benchmarks names its tables in `document_tables`.
"""

from __future__ import annotations

import json
import re
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.accuracy import document_tables as accuracy
from benchmarks.adaptation import document_tables as adaptation
from benchmarks.adaptive_video import document_tables as adaptive_video
from benchmarks.costs import document_tables as costs
from benchmarks.groups import document_tables as groups
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.processes import PROJECT
from benchmarks.serving import document_tables as serving
from benchmarks.sharing import document_tables as sharing
from benchmarks.updates import document_tables as updates
from benchmarks.video import document_tables as video
from splitnet.errors import ConfigError

RESULTS = Path("docs/results")
ROOMS = (accuracy, adaptation, adaptive_video, costs, groups, serving, sharing, updates, video)
MARKED = re.compile(r"(<!-- begin ([\w-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)
NOT_YET = "Not measured yet: docs/results/README.md names the command.\n"

Result = Mapping[str, Any]

TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    name: table for room in ROOMS for name, table in room.TABLES.items()
}


def documents(project: Path = PROJECT) -> list[Path]:
    """Return the documents with tables of results: README, docs and the bundles' model cards."""
    pages = [project / "README.md", *sorted(project.glob("docs/**/*.md")), *sorted(project.glob("bundles/*/README.md"))]
    return [page for page in pages if MARKED.search(page.read_text(encoding="utf-8"))]


def rewritten(text: str, results: Path) -> str:
    """Return a document with every marked table made anew. ConfigError if a marker or a result is unknown."""

    def fill(match: re.Match[str]) -> str:
        if match[2] not in TABLES:
            raise ConfigError(f"no table is called {match[2]!r}; there are {', '.join(TABLES)}")
        file, make = TABLES[match[2]]
        made = make(_read(results / file)) if (results / file).exists() else NOT_YET
        return f"{match[1]}{made}{match[3]}"

    return MARKED.sub(fill, text)


def _read(path: Path) -> Result:
    try:
        result: Result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({error}); measure it again: docs/results/README.md says how"
        ) from error
    return result


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a table is out of date")


def _run(options: Namespace) -> dict[str, object]:
    stale = [str(page.relative_to(PROJECT)) for page in documents() if _document(page, write=not options.check)]
    if stale and options.check:
        raise ConfigError(f"out of date: {', '.join(stale)}; run `python -m benchmarks document`")
    return {"benchmark": "document", "rewritten": ", ".join(stale) or "nothing, all was up to date"}


def _document(path: Path, write: bool) -> bool:
    """Make a document's tables anew; returns whether that changed anything."""
    text = path.read_text(encoding="utf-8")
    new = rewritten(text, PROJECT / RESULTS)
    if write and new != text:
        path.write_text(new, encoding="utf-8")
    return new != text


BENCHMARK = Benchmark("document", "write the figures of docs/results into README and docs", _arguments, _run)
