"""Results as text: what `python -m benchmarks` prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from splitnet.text_table import text_table


def as_text(result: Mapping[str, object]) -> str:
    """Return the figures of a result as lines, and each list of rows in it as a table."""
    rows = {key: value for key, value in result.items() if _is_rows(value)}
    figures = {key: value for key, value in result.items() if key not in rows}
    width = max(map(len, figures), default=0)
    blocks = ["\n".join(f"{key:<{width}}  {_cell(value)}" for key, value in figures.items())]
    blocks += [f"{key}\n{table(value)}" for key, value in rows.items() if isinstance(value, Sequence)]
    return "\n\n".join(blocks)


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Return rows with the same keys as a table, one column a key, numbers to the right."""
    keys = list(rows[0])
    cells = [[_cell(row.get(key)) for key in keys] for row in rows]
    return text_table(keys, cells, left=[key for key in keys if isinstance(rows[0][key], str)])


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    return str(value)
