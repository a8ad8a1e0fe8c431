"""The output of `cloud-server models`: one bundle, or every bundle of a folder, as JSON values or tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splitnet.dominated import dominated
from splitnet.groups.group_manifest import is_group, load_group_manifest
from splitnet.manifest import Manifest, load_manifest
from splitnet.text_table import text_table

POINT_COLUMNS = ("point", "AP", "AP50", "KB", "KB p90", "encode ms", "MMACs", "")


def describe(folder: Path) -> dict[str, Any]:
    """Return what is known of a bundle without loading its weights, as JSON values. Raises BundleError.

    A file's bytes are those on disk, None if it is missing.
    """
    if is_group(folder):
        return _group(folder)
    manifest = load_manifest(folder)
    gone = dominated(manifest.points)
    return {
        "name": manifest.name,
        "path": str(folder),
        "digest": manifest.digest,
        "completes": None if manifest.completes is None else asdict(manifest.completes),
        "detector": manifest.detector,
        "split_point": manifest.split_point,
        "input_size": manifest.input_size,
        "classes": len(manifest.class_names),
        "widths": manifest.widths,
        "qualities": manifest.qualities,
        "files": {name: _size(folder / name) for name in sorted({*manifest.files, *_own_local(manifest)})},
        "licence": manifest.licence,
        "origin": manifest.origin,
        "unsplit": None if manifest.unsplit is None else asdict(manifest.unsplit),
        "local": _local(manifest),
        "points": [asdict(p) | {"name": str(p.point), "dominated": p in gone} for p in manifest.points],
    }


def _group(folder: Path) -> dict[str, Any]:
    manifest = load_group_manifest(folder)
    return {
        "name": manifest.name,
        "path": str(folder),
        "digest": manifest.digest,
        "group": manifest.parts,
        "task": manifest.task,
        "input_size": manifest.input_size,
        "classes": len(manifest.class_names),
        "qualities": manifest.qualities,
        "files": {name: _size(folder / name) for name in sorted(manifest.files)},
        "licence": manifest.licence,
        "origin": manifest.origin,
    }


def as_text(bundles: Sequence[Mapping[str, Any]]) -> str:
    """Return descriptions as tables for people."""
    return "\n\n".join(_group_text(one) if "group" in one else _bundle_text(one) for one in bundles)


def _own_local(manifest: Manifest) -> tuple[str, ...]:
    return () if manifest.local is None else (manifest.local_file,)


def _local(manifest: Manifest) -> dict[str, Any] | None:
    """Return what a device runs alone, its class names left out: they are the bundle's."""
    local = manifest.local_detector
    if local is None:
        return None
    known = asdict(local)
    return {name: known[name] for name in ("detector", "input_size", "accuracy", "mmacs")}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _bundle_text(bundle: Mapping[str, Any]) -> str:
    side = bundle["input_size"]
    facts = {
        "path": bundle["path"],
        "digest": bundle["digest"][:12] + _completes_text(bundle["completes"]),
        "detector": f"{bundle['detector']}, split after {bundle['split_point']}",
        "input": f"{side}x{side}, {bundle['classes']} classes",
        "operating points": f"{bundle['widths']} widths x {bundle['qualities']} qualities",
        "files": ", ".join(f"{name} {_kilobytes(size)}" for name, size in bundle["files"].items()),
        "licence": bundle["licence"] or "not stated",
    }
    if bundle["unsplit"] is not None:
        facts["unsplit AP"] = f"{bundle['unsplit']['ap']:.1f}"
    if bundle["local"] is not None:
        facts["device alone"] = _local_text(bundle["local"])
    lines = [bundle["name"], *(f"  {name:<17} {value}" for name, value in facts.items())]
    return "\n".join([*lines, *_points_text(bundle["points"])])


def _group_text(bundle: Mapping[str, Any]) -> str:
    side = bundle["input_size"]
    facts = {
        "path": bundle["path"],
        "digest": bundle["digest"][:12],
        "group": f"{bundle['group']} devices, {bundle['task']}",
        "input": f"{side}x{side}, {bundle['classes']} classes",
        "files": ", ".join(f"{name} {_kilobytes(size)}" for name, size in bundle["files"].items()),
        "licence": bundle["licence"] or "not stated",
    }
    return "\n".join([bundle["name"], *(f"  {name:<17} {value}" for name, value in facts.items())])


def _completes_text(completes: Mapping[str, Any] | None) -> str:
    return "" if completes is None else f", for the devices of {completes['digest'][:12]}"


def _local_text(local: Mapping[str, Any]) -> str:
    accuracy = "" if local["accuracy"] is None else f", AP {local['accuracy']['ap']:.1f}"
    return f"{local['detector']}{accuracy}" + ("" if local["mmacs"] is None else f", {local['mmacs']:.0f} MMACs")


def _points_text(points: Sequence[Mapping[str, Any]]) -> list[str]:
    if not points:
        return ["  not measured yet: run `python -m training evaluate`"]
    table = text_table(POINT_COLUMNS, [_row(point) for point in points], left=("point", ""))
    return ["", *(f"  {line}" for line in table.splitlines())]


def _row(point: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        point["name"],
        f"{point['ap']:.1f}",
        f"{point['ap50']:.1f}",
        f"{point['bytes_mean'] / 1000:.2f}",
        f"{point['bytes_p90'] / 1000:.2f}",
        f"{point['encode_ms_p50']:.1f}",
        f"{point['mmacs']:.1f}",
        "dominated" if point["dominated"] else "",
    )


def _kilobytes(size: int | None) -> str:
    return "missing" if size is None else f"{size / 1000:.0f} KB"
