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
from numpy.typing import NDArray

from splitnet.bundle import load_device, load_server
from splitnet.environment import environment
from splitnet.errors import ConfigError, SplitError
from splitnet.letterbox import LATENT_STRIDE
from splitnet.manifest import Manifest
from splitnet.nn.architectures import INPUT_SIZES, SPLIT_POINTS, architecture_of
from splitnet.nn.detector import Detector
from splitnet.nn.encoder import EncoderSpec
from splitnet.nn.front import FrontSpec
from splitnet.settings import add_settings, read_settings
from training.answers import answers_of
from training.average_precision import LabelledSet, class_names_of
from training.conversion import ConvertSettings, convert
from training.detector import train_detector
from training.detector_family import family_of
from training.detector_file import DETECTOR_FILE, read_note
from training.detector_settings import DetectorSettings
from training.distill import Distillation, DistillConfig
from training.evaluate import Evaluation, evaluate, operating_points
from training.export import export_bundle
from training.front_start import start_front
from training.pca_bundle import PcaSettings, make_bundle
from training.photographs import CropSpec, CropStream, find_photographs
from training.processes import processes_of
from training.recipe import RECIPES
from training.recompress import RecompressConfig, Recompression
from training.run import CHECKPOINT, Run, Task
from training.split_points_plot import can_draw, draw_study
from training.split_points_run import SplitPointsSettings, run_study
from training.split_points_text import as_text
from training.student import Student, StudentSpec
from training.teacher import origin_of, read_teacher

SHARES = (1 / 2, 5 / 8, 3 / 4, 1)  # of the detector's square: the sides of a front's widths
ORIGIN = (
    "Distilled in this project from the public {detector} weights of {source}, "
    "every weight of the server half and of the unsplit detector trained further here."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
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
    _distill_arguments(commands.add_parser("distill", help="train a split detector and write its bundle"))
    _recompress_arguments(commands.add_parser("recompress", help="make an unsplit detector mind compression less"))
    detector_parser = commands.add_parser("detector", help="train an unsplit detector on labelled pictures")
    add_settings(detector_parser, DetectorSettings)
    detector_parser.set_defaults(command=_detector)
    convert_parser = commands.add_parser("convert", help="turn VOC XML or YOLO text labels into COCO files")
    add_settings(convert_parser, ConvertSettings)
    convert_parser.set_defaults(command=_convert)
    cuts_parser = commands.add_parser("split-points", help="measure where a detector is best cut")
    add_settings(cuts_parser, SplitPointsSettings)
    cuts_parser.set_defaults(command=_split_points)
    pca_parser = commands.add_parser("pca", help="split a detector in a minute, without training")
    add_settings(pca_parser, PcaSettings)
    pca_parser.set_defaults(command=_pca)
    _evaluate_arguments(commands.add_parser("evaluate", help="measure AP, bytes and encode time of a bundle"))
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return share


def _training_arguments(parser: argparse.ArgumentParser, steps: int) -> None:
    """Add what every training takes."""
    add = parser.add_argument
    add(
        "--teacher",
        type=Path,
        required=True,
        metavar="FILE",
        help="unsplit detector: .onnx (batch norms folded in), .pth, .safetensors, or the --run of a `detector`",
    )
    add("--detector", choices=[*INPUT_SIZES], default="yolox-nano", help="which one that is (default: %(default)s)")
    add(
        "--classes",
        type=Path,
        required=True,
        metavar="FILE.json",
        help="COCO annotations whose categories are its classes; nothing else of them is read",
    )
    add(
        "--photographs",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of pictures to train on; name one twice to draw from it twice as often",
    )
    add(
        "--exclude",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE.json",
        help="COCO annotations: pictures with the numbers of theirs are not trained on",
    )
    add("--run", type=Path, required=True, metavar="DIR", help="journal and checkpoint; a checkpoint there goes on")
    add("--input-size", type=_count, metavar="N", help="side of the detector's square, pixels (default: the teacher's)")
    for name, default, text in (
        ("--steps", steps, "training steps in all, those of the checkpoint included"),
        ("--batch-size", 8, "crops a step"),
        ("--square", 256, "side of the crops in pixels, a multiple of 32"),
        ("--threads", torch.get_num_threads(), "CPU threads of the networks"),
        ("--loaders", 1, "threads that read pictures"),
    ):
        add(name, type=_count, default=default, metavar="N", help=f"{text} (default: %(default)s)")
    add("--start-from", type=Path, metavar="DIR", help="another --run, whose last checkpoint a new run starts from")
    add(
        "--start-progress",
        type=_share,
        default=0.0,
        metavar="X",
        help="with --start-from: share of the schedule that counts as done (default: %(default)s)",
    )
    cuda = torch.cuda.is_available()
    add("--device", choices=("cpu", "cuda"), default="cuda" if cuda else "cpu", help="default: %(default)s")
    add("--seed", type=int, default=0, metavar="N", help="of weights, crops and draws (default: %(default)s)")


def _distill_arguments(parser: argparse.ArgumentParser) -> None:
    _training_arguments(parser, steps=5800)
    add = parser.add_argument
    add(
        "--bundle",
        type=Path,
        required=True,
        metavar="DIR",
        help="where the bundle goes; its name is the bundle's",
    )
    add(
        "--split-point",
        choices=SPLIT_POINTS,
        default="dark3",
        help="the device stands in for the detector's stages up to here (default: %(default)s)",
    )
    add(
        "--unsplit",
        type=Path,
        metavar="DIR",
        help="the --run of a `recompress` or `detector`, the bundle's unsplit detector (default: the teacher)",
    )
    add(
        "--table-photographs",
        type=_count,
        default=400,
        metavar="N",
        help="pictures to fit the entropy tables on, at most (default: %(default)s)",
    )
    add("--licence", default="Apache-2.0", metavar="TEXT", help="of the weights (default: %(default)s)")
    add("--frozen-norm", action="store_true", help="keep the encoder's normalisation as it is: for a last, gentle run")
    add("--train-front", action="store_true", help="train a front's own stages too: for a last run, a third slower")
    add("--compile", action="store_true", help="fuse the networks (needs a C++ compiler): minutes first, then faster")
    add(
        "--encoder",
        choices=sorted(RECIPES),
        default="front",
        help="front: the detector's own stages, widths are sizes of the picture; ensemble: members from "
        "random weights, widths are how many run (default: %(default)s)",
    )
    add(
        "--sides",
        type=_count,
        nargs="+",
        default=[],
        metavar="N",
        help="a front's widths: pixels a side of the square that frames are fitted into, rising to the detector's own "
        "(default: a half, 5/8, 3/4 and all of it)",
    )
    add(
        "--finer",
        type=_count,
        default=2,
        metavar="N",
        help="steps of the bundle's qualities for each step of the trained ones (default: %(default)s)",
    )
    parser.set_defaults(command=_distill)


def _recompress_arguments(parser: argparse.ArgumentParser) -> None:
    _training_arguments(parser, steps=1500)
    parser.set_defaults(command=_recompress)


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="the bundle to measure")
    add("--images", type=Path, required=True, metavar="DIR", help="labelled pictures, never trained on")
    add("--annotations", type=Path, required=True, metavar="FILE", help="their COCO annotations")
    add("--out", type=Path, required=True, metavar="FILE.json", help="where the figures go")
    add("--limit", type=_count, metavar="N", help="only the first N pictures: a quick look")
    add("--widths", type=int, nargs="*", default=[], metavar="W", help="only these widths (default: all)")
    add("--no-images", action="store_true", help="leave the picture codecs out")
    add("--write-manifest", action="store_true", help="store the figures in the bundle's manifest; not with --limit")
    add("--threads", type=_count, default=1, metavar="N", help="CPU threads; encode times are quoted for the default 1")
    parser.set_defaults(command=_evaluate)


def _train(options: argparse.Namespace, task: Task[NDArray[Any]], photographs: Sequence[Path], spec: CropSpec) -> None:
    """Train to the last step, from the checkpoint if there is one."""
    run = Run(task, options.run, options.steps)
    if not run.resume() and options.start_from is not None:
        run.start_from(options.start_from, options.start_progress)
    with CropStream(photographs, spec, options.batch_size, options.seed + run.step, options.loaders) as stream:
        run.go(stream)


def _distill(options: argparse.Namespace) -> None:
    _check_device(options)
    photographs = find_photographs(options.photographs, options.exclude)
    names = class_names_of(options.classes)
    teacher = read_teacher(options.teacher, options.detector, names)
    spec, recipe = _student_spec(options, len(names)), RECIPES[options.encoder]
    config = DistillConfig(
        options.square,
        recipe,
        seed=options.seed,
        device=options.device,
        compile=options.compile,
        frozen_norm=options.frozen_norm,
        train_front=options.train_front,
    )
    task = Distillation(config, spec, teacher, _beginning(options, spec, photographs))
    own = origin_of(options.teacher)
    manifest = Manifest(
        name=options.bundle.resolve().name,
        detector=options.detector,
        split_point=options.split_point,
        input_size=_input_size(options),
        class_names=names,
        qualities=(spec.qualities - 1) * options.finer + 1,
        encoder=spec.encoder,
        decoder=spec.decoder,
        files={},
        origin=own or ORIGIN.format(detector=options.detector, source=family_of(options.detector).source),
        licence=options.licence,
    )
    # Both before the training, so that what is wrong with them shows at once.
    detector = _unsplit(options, teacher, names)
    low, high = recipe.scales
    _train(options, task, photographs, CropSpec(options.square, _input_size(options), low, high))
    every = -(-len(photographs) // options.table_photographs)
    written = export_bundle(options.bundle, manifest, task.result(), detector, photographs[::every])
    print(f"wrote {options.bundle} ({written.digest[:12]}); now measure it: python -m training evaluate --help")


def _student_spec(options: argparse.Namespace, classes: int) -> StudentSpec:
    recipe = RECIPES[options.encoder]
    encoder = EncoderSpec() if options.encoder == "ensemble" else FrontSpec(_sides(options))
    return StudentSpec(
        options.detector, classes, options.split_point, recipe.qualities, encoder=encoder, decoder=recipe.decoder
    )


def _sides(options: argparse.Namespace) -> tuple[int, ...]:
    """Return the sides of a front's widths, as asked or as usual: shares of the detector's square."""
    size = _input_size(options)
    if options.sides and options.sides[-1] != size:
        raise ConfigError(f"--sides must end with the detector's own, {size}")
    usual = (round(size * share / LATENT_STRIDE) * LATENT_STRIDE for share in SHARES)
    return tuple(options.sides) or tuple(dict.fromkeys(usual))  # of a small square some shares are the same


def _beginning(
    options: argparse.Namespace, spec: StudentSpec, photographs: Sequence[Path]
) -> Callable[[Student, Detector], None] | None:
    """Return what gives a front its first weights; None if weights of an earlier run follow, or random ones will do."""
    if not isinstance(spec.encoder, FrontSpec) or options.start_from or (options.run / CHECKPOINT).exists():
        return None
    return lambda student, teacher: start_front(student, teacher, photographs, _input_size(options))


def _input_size(options: argparse.Namespace) -> int:
    """Return the side of the detector's square: as asked, as its teacher was trained for, or as published."""
    note = read_note(options.teacher)
    return options.input_size or (note.input_size if note else INPUT_SIZES[options.detector])


def _unsplit(options: argparse.Namespace, teacher: Detector, names: Sequence[str]) -> Detector:
    """Return the detector for the `image` mode. It shares nothing with the student."""
    if options.unsplit is None:
        return teacher
    if (options.unsplit / DETECTOR_FILE).is_file():
        return read_teacher(options.unsplit, options.detector, names)
    detector = architecture_of(options.detector).build(options.detector, len(names))
    try:
        detector.load_state_dict(Recompression.result(options.unsplit))
    except RuntimeError as error:
        raise ConfigError(f"{options.unsplit} trained another detector than {options.detector}") from error
    return detector


def _check_device(options: argparse.Namespace) -> None:
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("no CUDA device is available; use --device cpu")


def _recompress(options: argparse.Namespace) -> None:
    _check_device(options)
    photographs = find_photographs(options.photographs, options.exclude)
    teacher = read_teacher(options.teacher, options.detector, class_names_of(options.classes))
    config = RecompressConfig(square=options.square, seed=options.seed, device=options.device)
    crops = CropSpec(options.square, _input_size(options))
    _train(options, Recompression(config, teacher), photographs, crops)
    print(f"done: give --unsplit {options.run} to `python -m training distill`")


def _detector(options: argparse.Namespace) -> None:
    settings = read_settings(DetectorSettings, options)
    note = train_detector(settings)
    accuracy = "" if note.ap is None else f", AP {note.ap:.1f}"
    if processes_of(os.environ).is_first:
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
    written = make_bundle(read_settings(PcaSettings, options))
    print(f"wrote {options.bundle} ({written.digest[:12]}); now measure it: python -m training evaluate --help")


def _evaluate(options: argparse.Namespace) -> None:
    device, server = load_device(options.bundle), load_server(options.bundle)
    labelled = LabelledSet(options.images, options.annotations, device.manifest.class_names, options.limit)
    points = operating_points(device, options.widths, not options.no_images)
    if options.write_manifest and options.limit is not None:
        raise ConfigError("--write-manifest stores figures of the whole set only: leave --limit out")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with answers_of(device.manifest.digest) as answers:
        result = evaluate(device, server, labelled, points, answers)
    record = {**result.to_json(), "images": len(labelled.images), **environment()}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    if options.write_manifest:
        device.manifest.with_measurements(result.unsplit, result.points).write(options.bundle)
    _print(result)


def _print(result: Evaluation) -> None:
    if result.unsplit is not None:
        print(f"unsplit, uncompressed: AP {result.unsplit.ap:.1f}, AP50 {result.unsplit.ap50:.1f}")
    print(f"{'point':>12} {'KB':>7} {'p90':>7} {'AP':>6} {'AP50':>6} {'encode ms':>10} {'MMACs':>7}")
    for p in result.points:
        name = f"w{p.width} q{p.quality}" if p.width else f"{p.codec.value} {p.quality}"
        sizes = f"{p.bytes_mean / 1e3:7.2f} {p.bytes_p90 / 1e3:7.2f}"
        print(f"{name:>12} {sizes} {p.ap:6.1f} {p.ap50:6.1f} {p.encode_ms_p50:10.2f} {p.mmacs:7.1f}")


if __name__ == "__main__":
    sys.exit(main())
