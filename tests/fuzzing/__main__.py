"""`python -m tests.fuzzing TARGET|all`: coverage-guided fuzzing of every parser of foreign bytes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.report import as_text
from splitnet.environment import environment
from splitnet.errors import SplitError
from tests.fuzzing.runner import Budget, fuzz, with_earlier
from tests.fuzzing.targets import all_targets


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz; returns the exit code: 0 nothing found, 1 an input that a target does not survive, 2 cannot be done."""
    names = list(all_targets(Path()))
    options = _parser(names).parse_args(arguments)
    chosen = names if options.target == "all" else [options.target]
    try:
        budget = Budget(options.executions, options.seconds)
        rows = []
        for name in chosen:
            rows.append(fuzz(name, budget, options.corpus, options.findings))
            print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), file=sys.stderr, flush=True)
    except SplitError as error:
        print(f"fuzzing: {error}", file=sys.stderr)
        return 2
    earlier = [json.loads(path.read_text()) for path in options.add]
    rows = sorted(with_earlier(rows, earlier), key=lambda row: names.index(str(row["target"])))
    findings = sum(row["finding"] is not None for row in rows)
    executions = sum(int(str(row["executions"])) for row in rows)
    commits = [commit for one in earlier for commit in (*one.get("earlier", ()), one["commit"])]
    counts = {"executions": executions, "findings": findings, "earlier": commits}
    result = {"benchmark": "fuzz", **counts, "targets": rows, **environment()}
    print(as_text(result))
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if findings else 0


def _parser(names: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzzing", description=__doc__)
    parser.add_argument("target", choices=[*names, "all"], metavar="TARGET", help=f"all, or one of {', '.join(names)}")
    parser.add_argument("--executions", type=int, default=1_000_000, help="of each target (%(default)s)")
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target (%(default)s)")
    parser.add_argument("--corpus", type=Path, default=Path("runs/fuzz"), help="what is found new (%(default)s)")
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz-findings"), help="what fails (%(default)s)")
    parser.add_argument("--add", type=Path, nargs="*", default=(), metavar="FILE.json", help="earlier figures to add")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="where to write the figures")
    return parser


if __name__ == "__main__":
    sys.exit(main())
