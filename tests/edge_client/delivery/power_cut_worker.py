"""Gets one model after the other into a store, for ever, until it is killed."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from edge_client.delivery.model_state import Outcome, Trust
from edge_client.delivery.model_store import ModelStore
from splitnet.updates.delivery import Phase
from tests.support.artefacts import half_of

PIECE = 7000


def work(folder: Path, halves: list[Path], say: Connection) -> None:
    """Fetch, install, try and commit, with versions that count up. say: is told ("trial" | "committed", version).

    halves: folders, each with a device half.
    """
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
        say.send(("trial", version))
        store.state.commit(model, Outcome(Phase.COMMITTED, artefact.target))
        say.send(("committed", version))
        store.clear()
