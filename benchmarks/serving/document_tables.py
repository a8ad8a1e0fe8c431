"""The tables of documents that this room makes, and the results that they are made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.serving import attack_tables, cluster_tables, endurance_tables, frigate_tables
from benchmarks.serving.serve_tables import serve

Result = Mapping[str, Any]


TABLES: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "serve": ("serve.json", serve),
    "fuzz": ("fuzz.json", endurance_tables.fuzz),
    "soak": ("soak.json", endurance_tables.soak),
    "tls": ("tls.json", attack_tables.tls),
    "frigate": ("frigate.json", frigate_tables.frigate),
    "cluster": ("cluster.json", cluster_tables.engines),
    "cluster-faults": ("cluster.json", cluster_tables.faults),
    "cluster-simulated": ("cluster.json", cluster_tables.simulated),
    "attack": ("attack.json", attack_tables.attack),
}
