"""Two frames through an encoder, one built on the other: `python -m tests.support.two_frames PACKAGE MISSING...`.

MISSING: packages that cannot be imported, as on a device that does not have them.
"""

from __future__ import annotations

import sys
from pathlib import Path


def payloads(package: Path) -> list[str]:
    """Return the payloads in hexadecimal."""
    import numpy as np

    from edge_client.encoding.encoder import load_encoder
    from edge_client.encoding.references import SentReferences
    from splitnet.operating_point import parse_point

    encoder, references = load_encoder(package, "cpu", 1, "auto"), SentReferences()
    references.allow(2)
    image, found = np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3), []
    for frame_id in (1, 2):
        encoded = encoder.encode(image, parse_point("w1 q1"), frame_id, references)
        found.append(encoded.payload.hex())
        references.sent(encoded.reference)
        references.answered(frame_id)
        image = np.where(image > 250, image - 90, image)
    return found


if __name__ == "__main__":
    for name in sys.argv[2:]:
        sys.modules[name] = None
    print("\n".join(payloads(Path(sys.argv[1]))))
