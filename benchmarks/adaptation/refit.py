"""Fit the chains of `link_model` to recorded links anew: `python -m benchmarks links`.

Without options it reads the first halves of the shared recordings, one chain for each kind of radio, and prints what it
finds. With --keep it writes `link_models.json`, which the generated links of `adapt` are made of: their figures change.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.adaptation.adapt import DATA
from benchmarks.adaptation.link_model import FILE, OUTAGE_BPS, STEP_S, LinkModel, fitted
from benchmarks.adaptation.links import TUNE, piece_of
from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.traces import Trace, read_trace
from splitnet.atomic_write import write_json
from splitnet.errors import ConfigError

KINDS: Mapping[str, Sequence[str]] = {
    "3g": ("TMobile-UMTS-driving.up",),
    "lte": ("ATT-LTE-driving.up", "TMobile-LTE-short.up", "lte-driving-1.csv"),
    "5g": ("5g-driving-1.csv", "5g-driving-8.csv"),
}


def _add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--traces", type=Path, default=DATA / "traces", metavar="DIR", help="folder of the recordings (%(default)s)")
    add("--whole", action="store_true", help="fit whole recordings, not only the halves that nothing is judged on")
    add("--keep", action="store_true", help=f"write {FILE.name}; the generated links are then other ones")


def run(options: Namespace) -> dict[str, object]:
    """Return a row for each kind of radio. Raises ConfigError if a recording is missing."""
    models = {kind: fitted(_recordings(options, names)) for kind, names in KINDS.items()}
    if options.keep:
        write_json(FILE, {kind: model.to_json() for kind, model in models.items()})
    return {"kept": options.keep, "links": [_row(kind, model) for kind, model in models.items()]}


def _recordings(options: Namespace, names: Sequence[str]) -> list[Trace]:
    paths = [options.traces / name for name in names]
    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise ConfigError(f"there is no {' and no '.join(missing)}: give the folder of the recordings with --traces")
    traces = [read_trace(path) for path in paths]
    return traces if options.whole else [piece_of(trace, TUNE) for trace in traces]


def _row(kind: str, model: LinkModel) -> dict[str, object]:
    """Return what a chain does in the long run."""
    in_outage, leaves = model.rates_bps < OUTAGE_BPS, 1 - float(model.transitions[0, 0])
    return {
        "links": kind,
        "mbps_mean": round(float(model.start @ model.rates_bps) / 1e6, 2),
        "outage_share": round(float(model.start[in_outage].sum()), 4),
        "outage_s_mean": round(STEP_S / leaves, 2),
        "steps_in_same_state": round(float(model.start @ np.diag(model.transitions)), 3),
    }


BENCHMARK = Benchmark("links", "the chains that generated links are made of, fitted to recordings", _add_arguments, run)
