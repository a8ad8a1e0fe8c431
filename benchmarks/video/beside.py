"""Another system's curves, measured elsewhere on the same clips, to be compared with ours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from splitnet.errors import ConfigError
from training.data.coco_file import read_json

SHAPE = '{"clips": [{"name": ..., "rows": [{"system": ..., "setting": ..., "bytes_mean": ..., "fidelity": ...}]}]}'

Rows = Sequence[Mapping[str, Any]]


def read_beside(paths: Iterable[Path]) -> Mapping[str, Rows]:
    """Return each clip's rows, of all files; a system is called by its name and its file's. ConfigError."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for path in paths:
        clips = read_json(path, ["clips"])["clips"]
        try:
            for clip in clips:
                found[str(clip["name"])] += [_row(row, path) for row in clip["rows"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{path} is not of the shape {SHAPE}") from error
    return found


def _row(row: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    numbers = {name: float(row[name]) for name in ("bytes_mean", "fidelity")}
    if not all(isfinite(one) and one >= 0 for one in numbers.values()):
        raise ValueError(numbers)
    return {"system": f"{row['system']} ({path.stem})", "setting": str(row["setting"]), **numbers}
