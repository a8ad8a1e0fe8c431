"""`python -m training`: make a bundle, and measure one."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from splitnet.bundle import load_device, load_server
from splitnet.environment import environment
from splitnet.errors import ConfigError, SplitError
from splitnet.manifest import Manifest
from splitnet.settings import add_settings, read_settings
from training.answers import answers_of
from training.arguments import count
from training.average_precision import LabelledSet
from training.conversion import ConvertSettings, convert
from training.detector import train_detector
from training.detector_record import write_record
from training.detector_settings import DetectorSettings
from training.distill_run import train_split
from training.distill_settings import DistillSettings
from training.dominated import dominated, name_of, rows_of, without_dominated
from training.evaluate import Evaluation, evaluate, operating_points
from training.launch import is_launcher, launch
from training.pca_bundle import PcaSettings, make_bundle
from training.processes import processes_of
from training.recompress_run import RecompressSettings, train_recompressed
from training.split_points_plot import can_draw, draw_study
from training.split_points_run import SplitPointsSettings, run_study
from training.split_points_text import as_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else arguments
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that train together, one talks
    logging.basicConfig(level=logging.INFO if is_first else logging.WARNING, format="%(levelname)s %(message)s")
    cv2.setNumThreads(1)
    torch.set_num_threads(getattr(options, "threads", 1) or torch.get_num_threads())
    try:
        options.command(options)
    except (SplitError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "; the same command goes on from the last checkpoint" if "run" in options else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, settings: type[Any], command: Callable[[argparse.Namespace], None], text: str) -> None:
        subparser = commands.add_parser(name, help=text)
        add_settings(subparser, settings)
        subparser.set_defaults(command=command)

    add("distill", DistillSettings, _distill, "train a split detector and write its bundle")
    add("recompress", RecompressSettings, _recompress, "make an unsplit detector mind compression less")
    add("detector", DetectorSettings, _detector, "train an unsplit detector on labelled pictures")
    add("convert", ConvertSettings, _convert, "turn VOC XML or YOLO text labels into COCO files")
    add("split-points", SplitPointsSettings, _split_points, "measure where a detector is best cut")
    add("pca", PcaSettings, _pca, "split a detector in a minute, without training")
    _evaluate_arguments(commands.add_parser("evaluate", help="measure AP, bytes and encode time of a bundle"))
    return parser


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="the bundle to measure")
    add("--images", type=Path, required=True, metavar="DIR", help="labelled pictures, never trained on")
    add("--annotations", type=Path, required=True, metavar="FILE", help="their COCO annotations")
    add("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    add("--limit", type=count, metavar="N", help="only the first N pictures: a quick look")
    add("--widths", type=int, nargs="*", default=[], metavar="W", help="only these widths (default: all)")
    add("--no-images", action="store_true", help="leave the picture codecs out")
    add("--write-manifest", action="store_true", help="store the figures in the bundle's manifest; not with --limit")
    add(
        "--prune",
        action="store_true",
        help="with --write-manifest: leave points out that another one beats in MMACs, bytes and AP at once",
    )
    add("--threads", type=count, default=1, metavar="N", help="CPU threads; encode times are quoted for the default 1")
    parser.set_defaults(command=_evaluate)


def _share_out(options: argparse.Namespace) -> None:
    """Start a process for each GPU in this one's stead, if there are to be several; what is wrong was said before."""
    if is_launcher(options.gpus, os.environ):
        launch(options.gpus, options.words)


def _distill(options: argparse.Namespace) -> None:
    settings = read_settings(DistillSettings, options)
    _share_out(options)
    written = train_split(settings)
    if written is not None:
        _say_written(settings.bundle, written)


def _recompress(options: argparse.Namespace) -> None:
    settings = read_settings(RecompressSettings, options)
    _share_out(options)
    train_recompressed(settings)
    if processes_of(os.environ).is_first:
        print(f"done: give --unsplit {settings.run} to `python -m training distill`")


def _detector(options: argparse.Namespace) -> None:
    settings = read_settings(DetectorSettings, options)
    _share_out(options)
    note = train_detector(settings)
    accuracy = "" if note.ap is None else f", AP {note.ap:.1f}"
    if processes_of(os.environ).is_first:
        if settings.out is not None:
            write_record(settings.out, settings.run, note)
        print(f"{settings.run} has the detector of step {note.step}{accuracy}: give it to `distill` as --teacher")


def _convert(options: argparse.Namespace) -> None:
    settings = read_settings(ConvertSettings, options)
    done = convert(settings)
    for path, pictures in ((settings.out, done.kept), (settings.valid, done.held_out)):
        if path is not None:
            objects = sum(len(picture.objects) for picture in pictures)
            print(f"wrote {path}: {len(pictures)} pictures, {objects} objects of {len(done.class_names)} classes")


def _split_points(options: argparse.Namespace) -> None:
    settings = read_settings(SplitPointsSettings, options)
    record = run_study(settings)
    print(as_text(record, settings.device_mmacs, settings.bytes))
    if can_draw():
        print("drawn to", *draw_study(settings.out, record))
    else:
        print("not drawn: that needs matplotlib, of the extra [demo]")


def _pca(options: argparse.Namespace) -> None:
    _say_written(options.bundle, make_bundle(read_settings(PcaSettings, options)))


def _say_written(folder: Path, written: Manifest) -> None:
    print(f"wrote {folder} ({written.digest[:12]}); now measure it: python -m training evaluate --help")


def _evaluate(options: argparse.Namespace) -> None:
    device, server = load_device(options.bundle), load_server(options.bundle)
    labelled = LabelledSet(options.images, options.annotations, device.manifest.class_names, options.limit)
    points = operating_points(device, options.widths, not options.no_images)
    if options.write_manifest and options.limit is not None:
        raise ConfigError("--write-manifest stores figures of the whole set only: leave --limit out")
    if options.prune and not options.write_manifest:
        raise ConfigError("--prune is about what --write-manifest stores: give both")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with answers_of(device.manifest.digest) as answers:
        result = evaluate(device, server, labelled, points, answers)
    pruned = {"pruned": rows_of(dominated(result.points))} if options.prune else {}
    record = {**result.to_json(), **pruned, "images": len(labelled.images), **environment()}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    if options.write_manifest:
        kept = without_dominated(result.points) if options.prune else result.points
        device.manifest.with_measurements(result.unsplit, kept).write(options.bundle)
    _print(result)
    if options.prune:
        print(
            f"left out of the manifest: {len(pruned['pruned'])} of {len(result.points)} points, those beaten by others"
        )


def _print(result: Evaluation) -> None:
    if result.unsplit is not None:
        print(f"unsplit, uncompressed: AP {result.unsplit.ap:.1f}, AP50 {result.unsplit.ap50:.1f}")
    print(f"{'point':>12} {'KB':>7} {'p90':>7} {'AP':>6} {'AP50':>6} {'encode ms':>10} {'MMACs':>7}  beaten by")
    beaten = dominated(result.points)
    for p in result.points:
        sizes = f"{p.bytes_mean / 1e3:7.2f} {p.bytes_p90 / 1e3:7.2f}"
        figures = f"{name_of(p):>12} {sizes} {p.ap:6.1f} {p.ap50:6.1f} {p.encode_ms_p50:10.2f} {p.mmacs:7.1f}"
        print(f"{figures}  {name_of(beaten[p])}" if p in beaten else figures)


if __name__ == "__main__":
    sys.exit(main())
