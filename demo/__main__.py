"""`python -m demo`: a server and a device on this machine, real images, every kind of operating point.

Then the device chooses for itself, while the link is squeezed and the processor loaded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.run import Run
from demo.schedule import STILL_FRAMES
from demo.summary import as_text
from splitnet.environment import version
from splitnet.errors import SplitError
from splitnet.settings import DEFAULT_BUNDLE

FRAMES_HELP = f"frames at most ({STILL_FRAMES} of the photographs, all of a --source; Ctrl+C ends a camera)"
INTERRUPTED = 130  # the shell's exit code for Ctrl+C


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; returns its exit code: 0 objects were found, 1 none or something failed, 130 Ctrl+C."""
    options = _parser().parse_args(arguments)
    run = Run(options.bundle, options.out, options.source, options.frames, _say)
    try:
        complete, summary = run.follow()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SplitError as error:
        _say(str(error))
        return 1
    print(json.dumps(summary, indent=1) if options.json else "\n" + as_text(summary, run.out))
    if complete and not summary["found"]:
        _say("nothing was detected")
    return (0 if summary["found"] else 1) if complete else INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--version", action="version", version=f"{parser.prog} {version()}")
    parser.add_argument("--source", metavar="SRC", help="video, folder, camera or rtsp://; photographs if not given")
    parser.add_argument("--frames", type=_positive, metavar="N", help=FRAMES_HELP)
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle to run")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="folder for the results")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return int(text)


def _say(step: str) -> None:
    print(f"demo: {step}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
