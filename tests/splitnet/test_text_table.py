"""Tables for terminals."""

from __future__ import annotations

from splitnet.text_table import text_table


def test_columns_are_as_wide_as_their_widest_cell_and_aligned_as_asked():
    rows = [("w1 q0", "1.0", "", "7"), ("jpeg 50", "10.00", "w2 q3", "")]
    assert text_table(("point", "AP", "dominated by", "n"), rows, left=("point", "dominated by")) == (
        "point       AP  dominated by  n\n"
        "w1 q0      1.0                7\n"
        "jpeg 50  10.00  w2 q3"
    )  # fmt: skip


def test_figures_are_shown_as_they_are_given():
    assert text_table(("a",), [("1e3",), ("007",)]) == "  a\n1e3\n007"


def test_without_rows_the_names_of_the_columns_are_left():
    assert text_table(("point", "AP"), []) == "point  AP"
