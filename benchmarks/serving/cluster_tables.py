"""The tables of docs/cluster.md, from cluster.json. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MANY_CAMERAS = 10_000

Result = Mapping[str, Any]


def engines(result: Result) -> str:
    """Return what a frame takes, what is reached, and what it costs the front daemon, for each engine."""
    header = (
        "| computed by | ms, p50 / p99 | frames in time a second | front daemon, CPU ms a frame | of that, decoding |\n"
        "|---|---|---|---|---|\n"
    )
    rows = "".join(
        f"| {_engine(row['replicas'])} | {row['latency_ms_p50']:.1f} / {row['latency_ms_p99']:.1f} | "
        f"{row['goodput_per_s']:.1f} | {row['front_cpu_ms']:.1f} | "
        f"{row['decode_ms_p50']:.1f} |\n"
        for row in result["engines"]
    )
    return (
        f"{header}{rows}\nBundle {result['bundle']}, {result['machine']['cores']} cores for all processes together.\n"
    )


def _engine(replicas: int) -> str:
    return "the daemon itself" if not replicas else f"{replicas} replica{'s' * (replicas > 1)}"


def faults(result: Result) -> str:
    """Return what each fault costs a camera, and how fast the number of replicas follows the load."""
    header = (
        "| what fails | frames lost | late | last of them sent after, s | longest answer, ms |\n|---|---|---|---|---|\n"
    )
    rows = "".join(
        f"| {row['fault']} | {row['lost']} | {row['late']} | {row['back_after_s']:.1f} | "
        f"{row['longest_answer_ms']:.0f} |\n"
        for row in result["faults"]
    )
    scaling = result["scaling"]
    return (
        f"{header}{rows}\nOne camera, 10 frames a second, due within 500 ms; two replicas. With one replica and too "
        f"many frames for it, a second one has come after {scaling['second_replica_after_s']:.0f} s, and is gone "
        f"{scaling['gone_after_s']:.0f} s after the load.\n"
    )


def simulated(result: Result) -> str:
    """Return how many cameras each number of replicas carries, with the constants, and a figure."""
    costs = {name: 1000 * seconds for name, seconds in result["costs"].items()}
    header = f"| replicas | {' | '.join(str(row['replicas']) for row in result['simulated'])} |\n"
    line = f"|---{'|---' * len(result['simulated'])}|\n"
    cameras = f"| cameras | {' | '.join(str(row['cameras']) for row in result['simulated'])} |\n"
    terms = (
        f"5 frames a second each, 99 % answered within 200 ms. A frame costs the front {costs['front_s']:.1f} ms "
        f"on its one core, a batch of n takes a replica {costs['fixed_s']:.1f} + {costs['per_frame_s']:.1f} n "
        f"ms, the way there and back {costs['way_s']:.1f} ms. One front core saturates at "
        f"{result['front_saturates_fps']:.0f} frames a second.\n"
    )
    most = max(row["cameras"] for row in result["simulated"])
    per_replica = most / next(row["replicas"] for row in result["simulated"] if row["cameras"] == most)
    fleet = (
        f"One front carries {most} cameras at most, so {MANY_CAMERAS:,} need {math.ceil(MANY_CAMERAS / most)} fronts "
        f"of one core, and some {math.ceil(MANY_CAMERAS / per_replica):,} replicas of one core.\n"
    )
    figure = (
        '<picture><source media="(prefers-color-scheme: dark)" srcset="results/cluster-dark.png">'
        '<img src="results/cluster-light.png" alt="Cameras that are carried, over the number of replicas"></picture>\n'
    )
    return f"{header}{line}{cameras}\n{terms}\n{fleet}\n{figure}"
