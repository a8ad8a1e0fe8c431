"""`python -m training`: make a bundle, and measure one."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import torch

from splitnet.errors import SplitError
from splitnet.extras import missing_extra
from splitnet.manifest import Manifest, load_manifest
from splitnet.settings import add_command, add_commands, add_settings, read_settings
from training.changes import ChangesSettings, fit_changes
from training.convert import ConvertSettings, convert
from training.cuts.plot import can_draw, draw_study
from training.cuts.text import as_text
from training.detector import train_detector
from training.detectors.record import write_record
from training.detectors.settings import DetectorSettings
from training.distill import train_split
from training.distillation.settings import DistillSettings
from training.evaluate import EvaluateSettings, as_table, evaluate_bundle
from training.launch import is_launcher, launch
from training.local import LocalSettings, add_local
from training.loop.processes import processes_of
from training.pca import PcaSettings, make_bundle
from training.recompress import RecompressSettings, train_recompressed
from training.split_points import SplitPointsSettings, run_study


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    options.words = sys.argv[1:] if arguments is None else arguments
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that train together, one talks
    logging.basicConfig(level=logging.INFO if is_first else logging.WARNING, format="%(levelname)s %(message)s")
    cv2.setNumThreads(1)
    torch.set_num_threads(getattr(options, "threads", 1) or torch.get_num_threads())
    try:
        return options.command(options) or 0
    except (SplitError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"training: {missing_extra(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "; the same command goes on from the last checkpoint" if "run" in options else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = add_commands(parser)

    def add(name: str, settings: type[Any], command: Callable[[argparse.Namespace], None], text: str) -> None:
        subparser = add_command(commands, name, text)
        add_settings(subparser, settings)
        subparser.set_defaults(command=command)

    add("distill", DistillSettings, _distill, "train a split detector and write its bundle")
    add("recompress", RecompressSettings, _recompress, "make an unsplit detector mind compression less")
    add("detector", DetectorSettings, _detector, "train an unsplit detector on labelled images")
    add("convert", ConvertSettings, _convert, "turn VOC XML or YOLO text labels into COCO files")
    add("split-points", SplitPointsSettings, _split_points, "measure where a detector is best cut")
    add("changes", ChangesSettings, _changes, "fit the tables that code a frame against an earlier one, on videos")
    add("pca", PcaSettings, _pca, "split a detector in a minute, without training")
    add("local", LocalSettings, _local, "give a bundle another detector for its devices to run alone")
    add("evaluate", EvaluateSettings, _evaluate, "measure AP, bytes and encode time of a bundle")
    return parser


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
    for path, images in ((settings.out, done.kept), (settings.valid, done.held_out), (settings.test, done.tested)):
        if path is not None:
            objects = sum(len(image.objects) for image in images)
            print(f"wrote {path}: {len(images)} images, {objects} objects of {len(done.class_names)} classes")


def _split_points(options: argparse.Namespace) -> None:
    settings = read_settings(SplitPointsSettings, options)
    record = run_study(settings)
    print(as_text(record, settings.device_mmacs, settings.bytes))
    if can_draw():
        print("drawn to", *draw_study(settings.out, record))
    else:
        print("not drawn: that needs matplotlib, of the extra [demo]")


def _changes(options: argparse.Namespace) -> None:
    _say_written(options.bundle, fit_changes(read_settings(ChangesSettings, options)))


def _pca(options: argparse.Namespace) -> None:
    _say_written(options.bundle, make_bundle(read_settings(PcaSettings, options)))


def _local(options: argparse.Namespace) -> None:
    settings = read_settings(LocalSettings, options)
    local = add_local(settings).local
    assert local is not None
    print(f"{settings.bundle} has {local.detector} for its devices, {local.mmacs:.0f} MMACs a frame;")
    print("now measure it: python -m training evaluate --write-manifest")


def _say_written(folder: Path, written: Manifest) -> None:
    print(f"wrote {folder} ({written.digest[:12]}); now measure it: python -m training evaluate --help")


def _evaluate(options: argparse.Namespace) -> None:
    settings = read_settings(EvaluateSettings, options)
    result = evaluate_bundle(settings)
    print(as_table(result))
    if settings.prune:
        left_out = len(result.points) - len(load_manifest(settings.bundle).points)
        print(f"left out of the manifest: {left_out} of {len(result.points)} points, those beaten by others")


if __name__ == "__main__":
    sys.exit(main())
