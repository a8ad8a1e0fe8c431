"""The command `cloud-server`.

Each command imports what it needs when it runs: the libraries take seconds, and the help none of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from cloud_server.compute.tuning import TuneConfig, Tuning, in_words, write_tuning
from cloud_server.config import ServeConfig
from cloud_server.devices_command import add_devices
from cloud_server.signals import EarlySignals
from cloud_server.updates_commands import add_updates
from splitnet.config_check import add_check
from splitnet.configuration import add_configurable, read_configured
from splitnet.errors import SplitError
from splitnet.extras import missing_extra
from splitnet.heap import share_heap
from splitnet.home import ensure_home
from splitnet.outputs.outputs_config import OutputsConfig
from splitnet.process_end import run_to_end
from splitnet.settings import add_command, add_commands
from splitnet.streams import open_closed_streams, say, whole_output

SECTIONS = {"serve": ServeConfig, "tune": TuneConfig, "outputs": OutputsConfig}  # the tables of a file of settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: 0 done, 1 stopped by force, 2 cannot be done."""
    open_closed_streams()
    code: int = 0
    try:
        ensure_home()
        with whole_output():
            parsed = _parser().parse_args(arguments)
            code = parsed.command(parsed)
    except SplitError as error:
        print(f"cloud-server: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"cloud-server: {missing_extra(error)}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cloud-server", description="The edge node's half of split object detection.")
    commands = add_commands(parser)
    serve_command = add_command(commands, "serve", "serve a bundle to devices until SIGTERM or Ctrl+C")
    add_configurable(serve_command, ServeConfig)
    serve_command.set_defaults(command=_serve)
    tune_command = add_command(commands, "tune", "measure what is fastest on this machine, for serve --tuning")
    add_configurable(tune_command, TuneConfig)
    tune_command.set_defaults(command=_tune)
    models = add_command(commands, "models", "describe a bundle, or every bundle of a folder")
    models.add_argument("folder", type=Path, metavar="DIR", help="a bundle, or a folder of bundles")
    models.add_argument("--json", action="store_true", help="print JSON instead of tables")
    models.set_defaults(command=_models)
    deliver = add_command(commands, "deliver", "make a bundle's package for devices without PyTorch")
    deliver.add_argument("bundle", type=Path, metavar="DIR", help="the bundle")
    deliver.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write the package to")
    deliver.set_defaults(command=_deliver)
    add_devices(commands, _tell)
    add_updates(commands, _tell)
    add_check(commands, SECTIONS, say)
    return parser


def _serve(arguments: argparse.Namespace) -> int:
    early = EarlySignals()
    share_heap()
    early.install()
    config: ServeConfig = read_configured("serve", SECTIONS, arguments)

    import asyncio

    from cloud_server.daemon import serve
    from cloud_server.last_moment import end_within
    from cloud_server.log import logging_to_stderr

    with logging_to_stderr(config.log_level):
        drained = asyncio.run(serve(config, say, early, end_within))
    os._exit(0 if drained else 1)  # at once: a thread that still loads a bundle is not waited for


def _tune(arguments: argparse.Namespace) -> int:
    config: TuneConfig = read_configured("tune", SECTIONS, arguments)

    from cloud_server.compute.tune import tune

    tuning, facts = tune(config)
    write_tuning(config.out, tuning, facts)
    for row in facts["measured"]:
        way = in_words(Tuning(**{name: row[name] for name in asdict(tuning)}))
        print(f"{way:<34}  {row['ms_per_frame']:.2f} ms a frame, fidelity {100 * row['fidelity']:.2f} %")
    print(f"chosen: {in_words(tuning)}; use it with `cloud-server serve --tuning {config.out}`")
    return 0


def _tell(arguments: argparse.Namespace) -> int:
    print(arguments.tell(arguments))
    return 0


def _deliver(arguments: argparse.Namespace) -> int:
    from splitnet.package_export import export_package

    manifest = export_package(arguments.bundle, arguments.out)
    size = sum(path.stat().st_size for path in arguments.out.iterdir()) / 1e6
    print(f"{arguments.out}: package of {manifest.name} {manifest.digest[:12]}, {size:.1f} MB; copy it to the devices")
    return 0


def _models(arguments: argparse.Namespace) -> int:
    from cloud_server.bundle_table import as_text, describe
    from splitnet.bundle_folders import find_bundles

    bundles = [describe(folder) for folder in find_bundles(arguments.folder)]
    print(json.dumps(bundles, indent=1) if arguments.json else as_text(bundles))
    return 0


def program() -> NoReturn:
    """Run the command of this process, and end the process."""
    run_to_end(main)


if __name__ == "__main__":
    program()
