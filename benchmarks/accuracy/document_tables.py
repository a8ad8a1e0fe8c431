"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.accuracy import backends_tables, kinds_tables, own_detector_tables, split_points_tables
from benchmarks.accuracy.accuracy_tables import SHORT, STRETCHED_SHORT, accuracy, fine_tuned, unsplit
from benchmarks.accuracy.choices_tables import choices
from benchmarks.accuracy.rate_tables import equal_bytes, failures, rate, rate_summary

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "accuracy": ("accuracy.json", accuracy),
    "accuracy-short": ("accuracy.json", lambda result: accuracy(result, STRETCHED_SHORT)),
    "nano": ("coco-nano.json", lambda result: accuracy(result, SHORT)),
    "nano-unsplit": ("coco-nano.json", unsplit),
    "nano-heavy": ("coco-nano-heavy.json", accuracy),
    "nano-heavy-unsplit": ("coco-nano-heavy.json", unsplit),
    "unsplit": ("accuracy.json", unsplit),
    "highway": ("highway.json", lambda result: accuracy(result, SHORT)),
    "highway-unsplit": ("highway.json", unsplit),
    "highway-detector": ("highway-detector.json", fine_tuned),
    "debris": ("debris.json", lambda result: accuracy(result, SHORT)),
    "debris-unsplit": ("debris.json", unsplit),
    "debris-detector": ("debris-detector.json", own_detector_tables.learning_curve),
    "rate": ("rate.json", rate),
    "rate-short": ("rate.json", rate_summary),
    "rate-rows": ("rate.json", equal_bytes),
    "choices": ("choices.json", choices),
    "backends": ("backends.json", backends_tables.backends),
    "failures": ("failures.json", failures),
    "split-points": ("split-points.json", split_points_tables.budgets),
    "split-points-choices": ("split-points.json", split_points_tables.choices),
    "split-points-cuts": ("split-points.json", split_points_tables.cuts),
    "split-points-free": ("split-points-free.json", split_points_tables.bundle),
    "split-points-trained": ("split-points-trained.json", split_points_tables.bundle),
    "split-points-verified": ("split-points-distilled.json", split_points_tables.verified),
    "guide": ("guide.json", own_detector_tables.guide),
    "training-cost": ("training-cost.json", own_detector_tables.training_cost),
    "kinds": ("slimmable.json", kinds_tables.kinds),
    "kinds-same-start": ("same-start.json", kinds_tables.kinds),
    "kinds-alone": ("slimmable.json", kinds_tables.alone),
}
