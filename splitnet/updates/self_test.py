"""The self-test that travels with a model: what it makes of a known image, there and here.

The image is made by integers alone, so that it is the same on every machine. The symbols are not: floats differ from
one machine to the next, so a small share of them may lie on the other side of a rounding border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from splitnet.errors import BitstreamError, ConfigError, UpdateError
from splitnet.updates.artefact import SelfTest

if TYPE_CHECKING:
    from splitnet.bundle import DeviceBundle
    from splitnet.device_package import DevicePackage

AGREEMENT_PERCENT = 97
_MULTIPLIER, _INCREMENT = 6364136223846793005, 1442695040888963407  # Knuth's MMIX generator


def test_image(seed: int, side: int) -> NDArray[np.uint8]:
    """Return a square image (side, side, 3) uint8: shading, blocks with hard edges, and grain."""
    state = seed % (1 << 64)

    def draw(below: int) -> int:
        nonlocal state
        state = (state * _MULTIPLIER + _INCREMENT) % (1 << 64)
        return (state >> 33) % below

    rows, columns = np.mgrid[0:side, 0:side].astype(np.int64)
    image = np.stack([(rows * (1 + draw(3)) + columns * (1 + draw(3)) + draw(256)) // 4 % 256 for _ in range(3)], -1)
    image += (rows * 7919 + columns * 104729 + rows * columns * 31)[..., None] % 13 - 6
    for _ in range(16):
        top, left = draw(side), draw(side)
        height, width = 2 + draw(1 + side // 3), 2 + draw(1 + side // 3)
        image[top : top + height, left : left + width] = [draw(256) for _ in range(3)]
    return image.clip(0, 255).astype(np.uint8)


def symbols_of(half: DeviceBundle | DevicePackage, test: SelfTest) -> NDArray[np.int16]:
    """Return the symbols (C, h, w) that a device half makes of a self-test's image. ConfigError if it cannot."""
    canvas = test_image(test.seed, half.manifest.side(test.width))
    return half.encoder.quantise(half.encoder.latent(canvas, test.width), test.width, test.quality)  # type: ignore[arg-type]


def record(half: DeviceBundle | DevicePackage, seed: int) -> tuple[SelfTest, bytes]:
    """Return a self-test of a device half, and the content of its file."""
    manifest = half.manifest
    test = SelfTest(manifest.widths, manifest.qualities // 2, seed, AGREEMENT_PERCENT)
    return test, half.codec.compress(symbols_of(half, test), test.width, test.quality)


def check(half: DeviceBundle | DevicePackage, test: SelfTest, expected: bytes) -> float:
    """Return the share of symbols that are as expected. Raises UpdateError if it is below what the test asks for.

    The expected ones are decoded by the half's own tables, so that these are tried, too.
    """
    try:
        header, wanted = half.codec.decompress(expected)
        found = symbols_of(half, test)
    except (BitstreamError, ConfigError) as error:
        raise UpdateError(f"the self-test cannot be made: {error}") from error
    same = found.shape == wanted.shape and (header.width, header.quality) == (test.width, test.quality)
    share = float(np.mean(found == wanted)) if same else 0.0
    if 100 * share < test.agreement_percent:
        raise UpdateError(
            f"the self-test disagrees: {share:.1%} of its symbols are equal, {test.agreement_percent} % must be"
        )
    return share
