"""The result of a detector's training: weights as they run, with what one must know of them. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from splitnet.atomic_write import write_atomically
from splitnet.errors import ConfigError

DETECTOR_FILE = "detector.safetensors"
_KEY = "slimsplit"  # of the metadata: the file format keeps text only


@dataclass(frozen=True)
class DetectorNote:
    """What is known of a trained detector beside its weights."""

    detector: str  # a name that `detector_family.family_of` knows
    class_names: tuple[str, ...]
    input_size: int  # pixels a side of the square that it was trained for
    origin: str  # where its weights come from and what it was trained on
    step: int
    ap: float | None = None  # percent on the evaluation images, if there were any


def write_detector(folder: Path, weights: Mapping[str, Tensor], note: DetectorNote) -> None:
    """Write DETECTOR_FILE; the old one stays until this one is whole. OSError if that fails."""
    plain = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    write_atomically(folder / DETECTOR_FILE, save(plain, {_KEY: json.dumps(asdict(note))}))


def read_note(path: Path) -> DetectorNote | None:
    """Return what is known of a detector: of DETECTOR_FILE, or a folder with one; None if the file is another kind.

    ConfigError if it is damaged.
    """
    path = path / DETECTOR_FILE if path.is_dir() else path
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
        return None if text is None else _parse(json.loads(text))
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"{path} has a note that is damaged: {error!r}") from error


def _parse(values: Any) -> DetectorNote:
    note = DetectorNote(**{**values, "class_names": tuple(str(name) for name in values["class_names"])})
    texts, numbers = (note.detector, note.origin), (note.input_size, note.step)
    if not all(isinstance(t, str) for t in texts) or not all(isinstance(n, int) for n in numbers):
        raise TypeError("a field of another type")
    return note
