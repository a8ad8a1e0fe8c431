"""`python -m training`: make a bundle, and measure one."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence

import cv2
import torch

from splitnet.errors import SplitError
from splitnet.extras import missing_extra
from splitnet.home import ensure_home
from splitnet.settings import add_command, add_commands, add_settings, read_settings
from splitnet.streams import open_closed_streams, whole_output
from training import (
    changes,
    convert,
    detector,
    distill,
    evaluate,
    group,
    group_detector,
    local,
    pca,
    recompress,
    share,
    split_points,
    streams,
    update,
)
from training.command import Command
from training.launch import is_launcher, launch
from training.loop.processes import processes_of

COMMANDS = tuple(
    module.COMMAND
    for module in (
        distill,
        recompress,
        detector,
        convert,
        split_points,
        changes,
        pca,
        local,
        share,
        evaluate,
        streams,
        update,
        group,
        group_detector,
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    open_closed_streams()
    options: argparse.Namespace | None = None
    hint = ""
    try:
        ensure_home()
        with whole_output():
            options = _parser().parse_args(arguments)
        if options is None:  # the reader of the help has gone
            return 0
        options.words = sys.argv[1:] if arguments is None else arguments
        hint = "; the same command goes on from the last checkpoint" if "run" in options else ""
        _set_up(options)
        return options.command(options) or 0
    except (SplitError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"training: {missing_extra(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted{hint}", file=sys.stderr)
        return 130


def _set_up(options: argparse.Namespace) -> None:
    is_first = os.environ.get("RANK", "0") == "0"  # of the processes that train together, one talks
    logging.basicConfig(level=logging.INFO if is_first else logging.WARNING, format="%(levelname)s %(message)s")
    cv2.setNumThreads(1)
    torch.set_num_threads(getattr(options, "threads", 1) or torch.get_num_threads())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = add_commands(parser)
    for command in COMMANDS:
        own = add_command(commands, command.name, command.text)
        add_settings(own, command.settings)
        own.set_defaults(command=_run, chosen=command)
    return parser


def _run(options: argparse.Namespace) -> None:
    command: Command = options.chosen
    settings = read_settings(command.settings, options)  # what is wrong with them is said once, before there are others
    if is_launcher(getattr(settings, "gpus", 1), os.environ):
        launch(settings.gpus, options.words)
    said = command.run(settings)
    if processes_of(os.environ).is_first:
        with whole_output():
            print(said)


if __name__ == "__main__":
    sys.exit(main())
