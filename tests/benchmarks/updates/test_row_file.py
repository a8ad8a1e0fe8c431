"""Rows that outlive a run that was stopped."""

from __future__ import annotations

from pathlib import Path

from benchmarks.updates.row_file import RowFile

KEY = ("bccd", "FedPara", 0, "3")


def row(variant: str, size: int) -> dict[str, object]:
    """Return a row."""
    return {"task": "bccd", "method": "FedPara", "seed": 0, "variant": variant, "bytes": size}


def test_what_was_measured_is_found_again(tmp_path: Path) -> None:
    file = RowFile(tmp_path / "work" / "rows.jsonl")
    assert not file.has(KEY)
    file.add([row("3", 10), row("3", 20)])
    again = RowFile(tmp_path / "work" / "rows.jsonl")
    assert again.has(KEY)
    assert [one["bytes"] for one in again.rows] == [10, 20]
    assert not again.has(("bccd", "FedPara", 1, "3"))


def test_rows_that_were_cut_off_count_as_not_measured_and_spoil_no_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    RowFile(path).add([row("1", 10)])
    path.write_bytes(path.read_bytes() + b'[{"task": "bccd", "meth')
    RowFile(path).add([row("3", 20)])
    assert [one["variant"] for one in RowFile(path).rows] == ["1", "3"]
