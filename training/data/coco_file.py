"""The content of a COCO annotation file, and what its categories mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet.errors import ConfigError
from training.data.data_problems import DataProblems

MAX_FILE_BYTES = 1_000_000_000  # twice that of COCO's own; parsed it takes about ten times as much memory
MAX_CLASSES = 10_000
LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class Labels:
    """What the categories mean: names in order of the ids, and the label of each id."""

    names: Sequence[str]
    by_category: Mapping[int, int]


def read_json(path: Path, lists: Sequence[str] = LISTS) -> dict[str, Any]:
    """Return a COCO file's content with these lists there, whatever its byte order mark.

    ConfigError on anything else, too large a file too.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} has {size / 1e9:.1f} GB, over {MAX_FILE_BYTES / 1e9:.0f}: split it up")
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not a COCO annotation file: {error!r}") from error
    for name in lists:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ConfigError(f"{path} is not a COCO annotation file: it has no list {name!r}")
    return content  # type: ignore[no-any-return]


def class_names_of(annotations: Path) -> tuple[str, ...]:
    """Return the names of an annotation file's categories in order of their ids: the order of public weights.

    ConfigError if the file has none, or they are ambiguous.
    """
    return tuple(labels_of(read_json(annotations, ["categories"]), annotations, DataProblems()).names)


def labels_of(content: Mapping[str, Any], path: Path, problems: DataProblems) -> Labels:
    """Return what the categories mean. ConfigError unless each has one id and one name.

    A root that Roboflow's exports put over all others, without an object of its own, is no class: it is noted.
    """
    names: dict[int, str] = {}
    for index, category in enumerate(content["categories"]):
        where = f"{path}: category {index}"
        if not isinstance(category, dict) or not is_id(category.get("id")) or not category.get("name"):
            raise ConfigError(f"{where} has no whole-number id and name")
        name = str(category["name"])
        if category["id"] in names:
            raise ConfigError(
                f"{where} ({name}) has the id {category['id']} of {names[category['id']]}; give it its own"
            )
        if name in names.values():
            raise ConfigError(f"{where} has the name {name!r} of another one; merge the two")
        names[category["id"]] = name
    root = _empty_root(content)
    if root is not None:
        problems.add("category over all others without an object, left out", f"{path} {names.pop(root)}")
    if not 0 < len(names) <= MAX_CLASSES:
        raise ConfigError(f"{path} has {len(names)} categories; 1 to {MAX_CLASSES} can be trained")
    ids = sorted(names)
    return Labels([names[i] for i in ids], {category: label for label, category in enumerate(ids)})


def is_id(value: Any) -> bool:
    """Return whether a value of a file is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _empty_root(content: Mapping[str, Any]) -> int | None:
    """Return the id of the category that is the supercategory of all others and of no object, if there is one."""
    for root in content["categories"]:
        others = [one for one in content["categories"] if one is not root]
        if others and all(one.get("supercategory") == root["name"] for one in others):
            objects = content.get("annotations", [])
            is_used = any(isinstance(one, dict) and one.get("category_id") == root["id"] for one in objects)
            return None if is_used else int(root["id"])
    return None
