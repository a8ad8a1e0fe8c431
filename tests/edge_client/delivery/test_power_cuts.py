"""A hundred real power cuts: SIGKILL at random moments of download, installation, trial and commit."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.connection import Connection

import pytest

from edge_client.delivery.model_store import ModelStore
from splitnet.bundle import load_device
from tests.edge_client.delivery.power_cut_worker import work
from tests.support.tiny_bundle import write_tiny_bundle

CUTS = 100
PATIENCE_S = 60.0


@pytest.mark.long
def test_a_hundred_kills_leave_a_model_that_loads_and_is_never_older(tmp_path):
    halves = [tmp_path / "halves" / str(seed) for seed in range(2)]
    for seed, half in enumerate(halves):
        write_tiny_bundle(half, seed)
    store_folder, draw, newest = tmp_path / "store", random.Random(0), 0
    processes = multiprocessing.get_context("forkserver")  # the libraries are imported once, not a hundred times
    processes.set_forkserver_preload([work.__module__])
    for _ in range(CUTS):
        mine, others = processes.Pipe(duplex=False)
        process = processes.Process(target=work, args=(store_folder, halves, others))
        process.start()
        others.close()
        assert mine.poll(PATIENCE_S)  # it works; the rest of its life is short
        time.sleep(draw.uniform(0, 0.15))
        process.kill()
        process.join()
        newest = max([newest, *committed(mine)])
        store = ModelStore(store_folder)
        assert store.own()
        current = store.current
        if newest:
            assert current is not None and current.version >= newest
            newest = current.version
            assert load_device(current.folder).manifest.digest == current.digest
        store.release()
    assert newest > CUTS / 10


def committed(said: Connection) -> list[int]:
    """Return the versions that a process has committed before it died."""
    found = []
    try:
        while True:
            what, version = said.recv()
            if what == "committed":
                found.append(version)
    except EOFError:
        said.close()
    return found
