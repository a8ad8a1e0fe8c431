"""`python -m benchmarks sharing`: how well similarity predicts what merged detectors find, and what sharing saves."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness.benchmark import Benchmark
from benchmarks.harness.drawing import require_matplotlib
from benchmarks.sharing.correlations import correlations
from benchmarks.sharing.distilled import chosen, distilled_row
from benchmarks.sharing.memory import memory_rows
from benchmarks.sharing.merges import Images, Row, measure_noise, measure_pair, pairs_of
from benchmarks.sharing.sharing_figures import baselines, chosen_metric, frontier, held_out
from benchmarks.sharing.sharing_plot import draw
from benchmarks.sharing.timing import time_rows
from splitnet.atomic_write import write_json
from splitnet.environment import commit
from splitnet.errors import ConfigError
from training.cuts.components import spread
from training.data.images import find_images
from training.evaluation.average_precision import LabelledSet
from training.sharing.members import Member, check_same_square
from training.sharing.pairs import unlabelled

PARTS = ("merges", "distilled", "memory", "time")


def _arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--bundles",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="three or more; most merges of the first 3",
    )
    add("--images", type=Path, nargs="+", required=True, metavar="DIR", help="folders without labels, to fit on")
    add(
        "--labelled-images", type=Path, nargs="+", required=True, metavar="DIR", help="labelled ones of the same scenes"
    )
    add("--annotations", type=Path, nargs="+", required=True, metavar="FILE", help="their COCO annotations")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="what to measure; the rest stays as it is in --out")
    add("--fit-limit", type=int, default=120, metavar="N", help="images that maps are fitted on (%(default)s)")
    add("--judge-limit", type=int, default=24, metavar="N", help="others to look at without labels (%(default)s)")
    add("--limit", type=int, metavar="N", help="only the first N labelled images: a quick look")
    add("--distil-steps", type=int, default=200, metavar="N", help="steps on the maps alone (%(default)s)")
    add("--distil-merges", type=int, default=4, metavar="N", help="merges that are trained so (%(default)s)")
    add("--frames", type=int, default=30, metavar="N", help="frames that are timed (%(default)s)")


def _run(options: Namespace) -> dict[str, object]:
    if options.out is not None:
        require_matplotlib()
    torch.set_num_threads(1)
    if not len(options.images) == len(options.labelled_images) == len(options.annotations):
        raise ConfigError("--images, --labelled-images and --annotations belong together: as many of each")
    members = [Member.load(folder) for folder in options.bundles]
    check_same_square(members)
    known = _known(options.out)
    if "merges" in options.parts:
        known["merges"] = _merges(options, members)
        known["settings"] = {name: getattr(options, name) for name in ("fit_limit", "judge_limit", "limit")}
    merges: list[Row] = known.get("merges", [])
    if not merges:
        raise ConfigError("no merges are known yet: measure them first, with --parts merges")
    if "distilled" in options.parts:
        known["distilled"] = _distilled(options, members, merges)
    if "memory" in options.parts:
        known["memory"] = memory_rows(options.bundles)
    if "time" in options.parts:
        known["time"] = time_rows(members, merges, options.frames)
    real = [row for row in merges if row["group"] != "control"]
    record = {
        "bundles": [member.name for member in members],
        "settings": known.get("settings", {}),
        "merges": merges,
        "correlations": correlations(real, "ap_kept") + correlations(merges, "ap_kept_with_controls"),
        "chosen_metric": chosen_metric(real),
        "held_out": held_out(real),
        "frontier": frontier(real),
        "baselines": baselines(real),
        **{part: known[part] for part in PARTS[1:] if part in known},
    }
    if options.out is not None:
        draw(options.out, record)
    return record


def _merges(options: Namespace, members: Sequence[Member]) -> list[Row]:
    """Measure every pair; what an interrupted run has left is taken over."""
    images = _images(options, members)
    done: list[Row] = []

    def keep(name: str, measure: Callable[[], list[Row]]) -> None:
        done.extend(_kept(options.out, name, measure))

    for donor, recipient, is_whole in pairs_of(members):
        keep(
            f"{donor.manifest.digest} {recipient.manifest.digest}",
            lambda d=donor, r=recipient, w=is_whole: measure_pair(d, r, w, images[r.name]),  # type: ignore[misc]
        )
    for member in members[:2]:
        keep(f"noise {member.manifest.digest}", lambda m=member: measure_noise(m, images[m.name]))  # type: ignore[misc]
    return [{**row, "ap_kept_with_controls": row["ap_kept"]} for row in done]


def _kept(out: Path | None, name: str, measure: Callable[[], list[Row]]) -> list[Row]:
    """Return rows that are measured here, or that a run which was interrupted has kept, each with its commit."""
    partial = None if out is None else out.with_name(f"{out.name}.partial")
    done: dict[str, list[Row]] = {} if partial is None else _read(partial)
    if name not in done:
        done[name] = [{**row, "commit": commit()} for row in measure()]
        if partial is not None:
            write_json(partial, done)
    return done[name]


def _distilled(options: Namespace, members: Sequence[Member], merges: Sequence[Row]) -> list[Row]:
    """Train the joints of some merges; what an interrupted run has left is taken over."""
    images, rows = _images(options, members), list[Row]()
    for row in chosen(merges, options.distil_merges):
        name = f"distilled for {options.distil_steps} steps: {row['label']}"
        rows += _kept(options.out, name, lambda row=row: [distilled_row(members, row, images, options.distil_steps)])  # type: ignore[misc]
    return rows


def _images(options: Namespace, members: Sequence[Member]) -> dict[str, Images]:
    """Return, by bundle, the images of the first labelled set whose classes it knows."""
    return {member.name: _images_of(options, member) for member in members}


def _images_of(options: Namespace, member: Member) -> Images:
    for unlabelled_folder, folder, file in zip(
        options.images, options.labelled_images, options.annotations, strict=True
    ):
        try:
            labelled = LabelledSet(folder, file, member.manifest.class_names, options.limit)
        except ConfigError:
            continue
        found_images = find_images([unlabelled_folder], options.annotations)
        found = unlabelled(spread(found_images, options.fit_limit + options.judge_limit), options.judge_limit)
        return Images(found.fit_on, found.judge_on, labelled)
    raise ConfigError(f"none of the annotations has classes that {member.name} knows")


def _known(out: Path | None) -> dict[str, Any]:
    return {} if out is None else _read(out)


def _read(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found


BENCHMARK = Benchmark(
    "sharing", "detectors that share: what similarity predicts, what it saves in memory and time", _arguments, _run
)
