"""The bytes that a device sends for one image, in a file: for clients in other languages.

python -m examples.features street.jpg frame.sl --width 3 --quality 5
node examples/node/features.mjs 127.0.0.1:50051 frame.sl 640x480
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from examples.one_process import encode
from splitnet.bundle import load_device
from splitnet.image_file import read_image
from splitnet.settings import DEFAULT_BUNDLE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m examples.features", description=__doc__)
    parser.add_argument("image", type=Path, metavar="IMAGE")
    parser.add_argument("out", type=Path, metavar="FILE", help="where to write the bitstream")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, metavar="DIR", help="the server's bundle")
    parser.add_argument("--width", type=int, default=3, metavar="N", help="computation on the device (default: 3)")
    parser.add_argument("--quality", type=int, default=5, metavar="N", help="0 is the fewest bytes (default: 5)")
    return parser


@torch.inference_mode()
def main(arguments: Sequence[str] | None = None) -> None:
    """Encode an image and write its bitstream."""
    options = _parser().parse_args(arguments)
    image = read_image(options.image)
    payload = encode(load_device(options.bundle), image, options.width, options.quality)
    options.out.write_bytes(payload)
    print(f"{options.out}: {len(payload)} bytes of an image of {image.shape[1]}x{image.shape[0]}")


if __name__ == "__main__":
    main()
