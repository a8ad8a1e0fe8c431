"""The one door to ONNX Runtime, with its telemetry switched off.

Its wheels write an identifier under the user's cache folder and look up a host of their maker as soon as they are
imported. The variable below prevents both, if it is set before (see `Privacy.md` in the package).
"""

from __future__ import annotations

import os
from typing import Any

TELEMETRY_SWITCH = "ORT_DISABLE_TELEMETRY"


def import_onnxruntime() -> Any:
    """Return the module `onnxruntime`. Raises what its import raises where it is missing or does not load."""
    os.environ[TELEMETRY_SWITCH] = "1"
    import onnxruntime

    return onnxruntime
