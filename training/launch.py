"""A training on several GPUs of one machine: `--gpus N` starts the command N times, as `torchrun` does."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence


def is_launcher(gpus: int, environment: Mapping[str, str]) -> bool:
    """Return whether this process is to start the others, and is not one that `torchrun` has started."""
    return gpus > 1 and "RANK" not in environment


def launch(gpus: int, words: Sequence[str]) -> None:
    """Become `torchrun`, with a process of `python -m training` and these arguments for each GPU; does not return."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(gpus)]
    # Without the dashes torchrun would read --run as an option of its own.
    os.execv(sys.executable, [sys.executable, "-m", *torchrun, "-m", "--", "training", *words])
