"""`python -m demo.clip`: a short animated picture of a failover, for a page: the server is killed and comes back.

A real server and a real client that adapts; the device goes on by itself while there is no server. Every frame shown is
one that the client has annotated, and the line below it says what the client's trace says of that frame.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness.drawing import LIGHT
from benchmarks.harness.images import Image
from benchmarks.harness.run_trace import DETECTED, FrameRecord, read_run
from demo.adapting import start_s
from demo.failover import FPS, Recording, recorded
from splitnet.errors import ConfigError, SplitError
from splitnet.settings import DEFAULT_BUNDLE

OUT = Path("docs/images/failover.webp")
ALONE_S = 5.0  # shown of the time without a server, at most
BAR_HEIGHT, BADGE_WIDTH = 34, 126
MAX_FILE_BYTES = 1_500_000
FAILOVER = {(False, True), (True, False)}  # (detected by the device, with a server): what is to be seen


def main(arguments: Sequence[str] | None = None) -> int:
    """Record and write the clip; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.clip", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, metavar="FILE.webp", help="the picture (%(default)s)")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="bundle (%(default)s)")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="slimsplit-clip-") as folder:
            recording = recorded(options.bundle, Path(folder))
            frames = [captioned(*shown) for shown in shown_frames(recording)]
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_bytes(animated(frames))
    except SplitError as error:
        print(f"demo.clip: {error}", file=sys.stderr)
        return 1
    print(f"{len(frames)} frames, {options.out.stat().st_size / 1000:.0f} KB, in {options.out}")
    return 0


def shown_frames(recording: Recording) -> Iterator[tuple[Image, FrameRecord, bool]]:
    """Yield the annotated frames, their records, and whether there was a server then; of a long outage the beginning.

    Raises ConfigError if the frames show no failover: the device was too fast, or too slow.
    """
    records = read_run(recording.trace)
    begun_s, killed_s, back_s = start_s(records), recording.killed_s, recording.back_s
    frames = _read(recording.clip)
    shown = []
    for record in records:
        at_s = record.time_s - begun_s
        is_cut = killed_s + ALONE_S <= at_s < back_s
        if record.outcome in DETECTED and record.position < len(frames) and not is_cut:
            shown.append((frames[record.position], record, not killed_s <= at_s < back_s))
    if not {(record.mode == "local", has_server) for _, record, has_server in shown} >= FAILOVER:
        raise ConfigError("there is no failover to be seen: record again while the machine has nothing else to do")
    yield from shown


def _read(clip: Path) -> list[Image]:
    capture, frames = cv2.VideoCapture(str(clip)), list[Image]()
    while (found := capture.read())[0]:
        frames.append(np.asarray(found[1], np.uint8))
    capture.release()
    return frames


def captioned(frame: Image, record: FrameRecord, has_server: bool) -> Image:
    """Return a frame (H, W, 3) with a bar below it: where its boxes come from, what that took, and the server."""
    bar = np.full((BAR_HEIGHT, frame.shape[1], 3), _bgr(LIGHT.of_mode(record.mode)), np.uint8)
    came = "device alone" if record.mode == "local" else f"{record.point}, {record.payload_bytes / 1000:.1f} KB sent"
    _write(bar, f"{came}, boxes after {record.total_ms or 0:.0f} ms", 10)
    if not has_server:
        bar[:, -BADGE_WIDTH:] = _bgr(LIGHT.bad)
    _write(bar, "server up" if has_server else "server killed", frame.shape[1] - BADGE_WIDTH + 10)
    return np.concatenate((frame, bar))


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
        settings = {"quality": quality, "method": 4, "duration": 1000 // FPS, "loop": 0}
        images[0].save(file, "WEBP", save_all=True, append_images=images[1:], **settings)
        if file.tell() <= MAX_FILE_BYTES:
            break
    return file.getvalue()


if __name__ == "__main__":
    sys.exit(main())
