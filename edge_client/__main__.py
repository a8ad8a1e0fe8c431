"""The command `edge-client`: everything that parses arguments, prints and exits.

Each command is imported when it runs: the libraries take seconds, and the help needs none of them.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from typing import NoReturn

from edge_client.console import PROGRAM, Console, LogFormatter, fit
from edge_client.signals import ending_at_once
from splitnet.errors import OutputError, SourceError, SplitError
from splitnet.heap import share_heap
from splitnet.home import ensure_home
from splitnet.process_end import run_to_end
from splitnet.streams import open_closed_streams, whole_output

DONE, SOURCE_FAILED, IMPOSSIBLE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = (
    "exit codes: 0 done; 1 the source has failed; 2 it cannot be done as asked for; 3 done, but images of the source "
    "could not be read or results not be written; 130 interrupted before the run has begun"
)
EXAMPLES = """examples:
  edge-client run --server edge-node:50051 --source 0 --deadline-ms 200 --view
  edge-client run --mode local --source street.mp4 --annotate boxes.mp4 --out detections.jsonl

"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code: see EXIT_CODES."""
    open_closed_streams()
    console = Console()
    try:
        with ending_at_once():
            code = _run_command(arguments, console)
    except SplitError as error:
        console.complain(str(error))
        return _code_of(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    if console.lost is not None:
        console.complain(str(console.lost))
    return code if console.lost is None or code else INCOMPLETE


def _code_of(error: SplitError) -> int:
    if isinstance(error, OutputError):
        return INCOMPLETE
    return SOURCE_FAILED if isinstance(error, SourceError) else IMPOSSIBLE


def _run_command(arguments: Sequence[str] | None, console: Console) -> int:
    share_heap()
    home = ensure_home()
    _quiet_libraries()
    if home is not None:
        logging.getLogger(__name__).warning("this user has no home folder: what is kept goes to %s", home)
    with whole_output():  # of the help
        parsed = _parser(console).parse_args(arguments)
    code: int = parsed.command(parsed)
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, without the passwords in it."""
        super().error(fit(message))


def _parser(console: Console) -> argparse.ArgumentParser:
    from edge_client.config import RunConfig
    from edge_client.enrol_command import EnrolConfig
    from edge_client.frigate_config import FrigateConfig
    from edge_client.http_config import HttpConfig
    from edge_client.profile_config import ProfileConfig
    from splitnet.config_check import add_check
    from splitnet.configuration import add_configurable, read_configured
    from splitnet.outputs.outputs_config import OutputsConfig
    from splitnet.settings import add_command, add_commands, add_settings, read_settings

    sections = {
        "run": RunConfig,
        "profile": ProfileConfig,
        "frigate": FrigateConfig,
        "http": HttpConfig,
        "outputs": OutputsConfig,
    }

    def run(parsed: argparse.Namespace) -> int:
        config: RunConfig = read_configured("run", sections, parsed)
        from edge_client.run_command import run as run_command

        return DONE if run_command(config, console) else INCOMPLETE

    def profile(parsed: argparse.Namespace) -> int:
        config: ProfileConfig = read_configured("profile", sections, parsed)
        from edge_client.profile_command import profile as profile_command

        profile_command(config, console)
        return DONE

    def frigate(parsed: argparse.Namespace) -> int:
        config: FrigateConfig = read_configured("frigate", sections, parsed)
        from edge_client.frigate_command import frigate as frigate_command

        frigate_command(config, console)
        return DONE

    def http(parsed: argparse.Namespace) -> int:
        config: HttpConfig = read_configured("http", sections, parsed)
        from edge_client.http_command import http as http_command

        http_command(config, console)
        return DONE

    def enrol(parsed: argparse.Namespace) -> int:
        from edge_client.enrol_command import enrol as enrol_command

        enrol_command(read_settings(EnrolConfig, parsed), console)
        return DONE

    parser = _Parser(prog=PROGRAM, description="The device's half of split object detection.", epilog=EXIT_CODES)
    commands = add_commands(parser)
    adding = add_command(
        commands,
        "run",
        "detect objects in frames of a camera, video or folder",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_configurable(adding, RunConfig)
    adding.set_defaults(command=run)
    adding = add_command(commands, "profile", "measure what each operating point costs on this device")
    add_configurable(adding, ProfileConfig)
    adding.set_defaults(command=profile)
    adding = add_command(commands, "frigate", "be a detector for Frigate, by its ZMQ plug-in")
    add_configurable(adding, FrigateConfig)
    adding.set_defaults(command=frigate)
    adding = add_command(commands, "http", "answer images by HTTP, as DeepStack and CodeProject.AI do")
    add_configurable(adding, HttpConfig)
    adding.set_defaults(command=http)
    adding = add_command(commands, "enrol", "get an identity at a server, with a code of `cloud-server devices invite`")
    add_settings(adding, EnrolConfig)
    adding.set_defaults(command=enrol)
    add_check(commands, sections, console.say)
    return parser


def _quiet_libraries() -> None:
    """Let our own one-line errors speak for OpenCV, FFmpeg and gRPC; the user's settings go first."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    handler = logging.StreamHandler()
    handler.setFormatter(LogFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("edge_client.measuring.device_profile").setLevel(logging.INFO)  # it says what one waits for


def program() -> NoReturn:
    """Run the command of this process, and end the process."""
    run_to_end(main)


if __name__ == "__main__":
    program()
