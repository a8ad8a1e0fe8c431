"""Gets one model after the other into a store, for ever, until it is killed: `power_cut_worker.py STORE HALVES`.

HALVES: folders named by numbers, each with a device half.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edge_client.delivery.model_state import Outcome, Trust
from edge_client.delivery.model_store import ModelStore
from splitnet.updates.delivery import Phase
from tests.support.artefacts import half_of

PIECE = 7000


def work(folder: Path, halves: list[Path]) -> None:
    """Fetch, install, try and commit, with versions that count up."""
    store = ModelStore(folder)
    assert store.own()
    while True:
        version = 1 + (0 if store.current is None else store.current.version)
        artefact, contents = half_of(halves[version % len(halves)], version)
        for file in artefact.files:
            data = contents[file.name].read_bytes()
            while not store.has(file):
                offset = store.received(file)
                store.receive(file, data[offset : offset + PIECE])
        model = store.install([artefact], None, Trust(b"root"), {})
        store.state.begin_trial(model)
        print(f"trial {version}", flush=True)
        store.state.commit(model, Outcome(Phase.COMMITTED, artefact.target))
        print(f"committed {version}", flush=True)
        store.clear()


if __name__ == "__main__":
    work(Path(sys.argv[1]), sorted(Path(sys.argv[2]).iterdir()))
