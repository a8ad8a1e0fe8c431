"""`python -m demo.clip`: a short animated picture of a failover, for a page: the server is killed and comes back.

A real server and a real client that adapts. The device goes on by itself while there is no server. Every frame is one
that the client has annotated, and the line below it says what the client says of that frame.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness.drawing import LIGHT
from benchmarks.harness.images import Image
from demo.failover import FPS, Moment, moments, recorded
from splitnet.errors import ConfigError, SplitError
from splitnet.settings import DEFAULT_BUNDLE

OUT = Path("docs/images/failover.webp")
EVERY = 2  # of the frames that are shown, one is kept
ALONE_S = 5.0  # shown of the time without a server, at most
BAR_HEIGHT, BADGE_WIDTH = 34, 126
MAX_FILE_BYTES = 1_500_000
FAILOVER = {(False, True), (True, False)}  # (detected by the device, with a server): what is to be seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Record and write the clip; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="slimsplit-clip-") as folder:
            found = list(moments(recorded(options.bundle, Path(folder))))
            frames = [captioned(moment) for moment in shown(found)[::EVERY]]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(animated(frames))
    except SplitError as error:
        print(f"demo.clip: {error}", file=sys.stderr)
        return 1
    print(f"{len(frames)} frames, {options.out.stat().st_size / 1000:.0f} KB, in {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo.clip", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.webp", help="the picture (%(default)s)")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    return parser


def shown(found: Sequence[Moment]) -> list[Moment]:
    """Return the moments without all but the beginning of a long outage.

    Raises ConfigError if they show no failover: the device was too fast, or too slow.
    """
    kept = [moment for moment in found if (moment.alone_s or 0.0) < ALONE_S]
    if not {(moment.mode == "local", moment.alone_s is None) for moment in kept} >= FAILOVER:
        raise ConfigError("there is no failover to be seen: record again while the machine has nothing else to do")
    return kept


def captioned(moment: Moment) -> Image:
    """Return a frame (H, W, 3) with a bar below it: where its boxes come from, what that took, and the server."""
    has_server, width = moment.alone_s is None, moment.image.shape[1]
    bar = np.full((BAR_HEIGHT, width, 3), _bgr(LIGHT.of_mode(moment.mode)), np.uint8)
    came = "device alone" if moment.mode == "local" else f"{moment.point}, {moment.kilobytes:.1f} KB sent"
    _write(bar, f"{came}, boxes after {moment.end_to_end_ms:.0f} ms", 10)
    if not has_server:
        bar[:, -BADGE_WIDTH:] = _bgr(LIGHT.bad)
    _write(bar, "server up" if has_server else "server killed", width - BADGE_WIDTH + 10)
    return np.concatenate((moment.image, bar))


def _write(bar: Image, text: str, left: int) -> None:
    cv2.putText(bar, text, (left, 22), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)


def _bgr(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return blue, green, red


def animated(frames: Sequence[Image]) -> bytes:
    """Return BGR frames as an animated WebP of at most MAX_FILE_BYTES. Raises ConfigError if there are none."""
    from PIL import Image as PillowImage

    if not frames:
        raise ConfigError("the client has annotated no frame")
    images = [PillowImage.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)) for frame in frames]
    for quality in range(75, 14, -10):
        file = io.BytesIO()
        settings = {"quality": quality, "method": 4, "duration": 1000 * EVERY // FPS, "loop": 0}
        images[0].save(file, "WEBP", save_all=True, append_images=images[1:], **settings)
        if file.tell() <= MAX_FILE_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
