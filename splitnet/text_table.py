"""Tables for terminals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tabulate import tabulate


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str] = ()) -> str:
    """Return rows of cells below the names of their columns, which are aligned to the right but for those of `left`."""
    align = ["left" if name in left else "right" for name in columns]
    # The names go in as a row: tabulate would give a column of headers two blanks more than they need.
    table = tabulate([columns, *rows], tablefmt="plain", disable_numparse=True, colalign=align)
    return "\n".join(line.rstrip() for line in table.splitlines())
