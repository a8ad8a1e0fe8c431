"""Figures of two cuts, made up."""

from __future__ import annotations

from training.cuts.figures import CutPoint, CutStudy, TensorStudy


def point(size: float, ap: float, step: float = 1.0) -> CutPoint:
    return CutPoint(0.9, {"dark3": 5}, step, ap, 2 * ap, size, 1.2 * size)


def cut(name: str, mmacs: float, *points: CutPoint) -> CutStudy:
    return CutStudy(name, mmacs, 500 - mmacs, (TensorStudy("dark3", (64, 8, 8), {"90": 5}, (0.9, 0.1)),), points)


SHALLOW = cut("dark2", 50.0, point(2000, 5), point(20_000, 25))
DEEP = cut("dark4", 150.0, point(1500, 10), point(3000, 20), point(9000, 21))
