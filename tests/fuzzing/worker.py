"""One target under atheris: `python -m tests.fuzzing.worker TARGET SCRATCH MEMORY_MB [libFuzzer's options]`.

A process of its own, because libFuzzer never returns.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import atheris

# What is instrumented cannot be compiled, and the results of its comparisons are never freed: whole tensors.
COMPILED = [
    "splitnet.codec.rans",
    "splitnet.codec.contexts",
    "splitnet.codec.change_coder",
    "splitnet.codec.change_contexts",
    "splitnet.codec.layer_coder",
]
TENSORS = ["splitnet.nn.suppression", "splitnet.nn.yolox.boxes"]
with atheris.instrument_imports(
    include=["splitnet", "edge_client", "cloud_server", "benchmarks"], exclude=[*COMPILED, *TENSORS]
):
    from tests.fuzzing.access_targets import MAX_COST_S, TRACED, access_targets, within_cost
    from tests.fuzzing.targets import CORPUS, all_targets, run


def main(name: str, scratch: Path, memory_mb: int, options: list[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    target = all_targets(scratch)[name]
    for seed in sorted((CORPUS / name).iterdir()):  # what is made once is made here, not on an input's time
        run(target, seed.read_bytes())
    if name in access_targets():
        target = within_cost(target, TRACED * MAX_COST_S)
    _limit_memory(memory_mb)
    atheris.Setup([sys.argv[0], *options], lambda data: run(target, data))
    atheris.Fuzz()


def _limit_memory(memory_mb: int) -> None:
    """Let any allocation fail that takes the process further than so much beyond what it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + memory_mb * 1_000_000
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
