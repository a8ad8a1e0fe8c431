"""Curves for TensorBoard, where that is installed; the journal has the same figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

log = logging.getLogger(__name__)


def curves(folder: Path) -> Callable[[int, Mapping[str, float]], None] | None:
    """Return what writes the figures of a step below a folder; None, said once, if TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.info("TensorBoard is not installed: the figures go to the journal only")
        return None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(step: int, figures: Mapping[str, float]) -> None:
        for name, value in figures.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return write
