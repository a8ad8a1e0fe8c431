"""A hundred real power cuts: SIGKILL at random moments of download, installation, trial and commit."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.harness.processes import PROJECT
from edge_client.delivery.model_store import ModelStore
from splitnet.bundle import load_device
from tests.support.tiny_bundle import write_tiny_bundle

CUTS = 100


@pytest.mark.long
def test_a_hundred_kills_leave_a_model_that_loads_and_is_never_older(tmp_path):
    halves = tmp_path / "halves"
    for seed in range(2):
        write_tiny_bundle(halves / str(seed), seed)
    store_folder, draw, newest = tmp_path / "store", random.Random(0), 0
    worker = [sys.executable, "-m", "tests.edge_client.delivery.power_cut_worker", str(store_folder), str(halves)]
    for _ in range(CUTS):
        process = subprocess.Popen(worker, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        first = process.stdout.readline()  # it works; the rest of its life is short
        assert first.startswith("trial"), first
        time.sleep(draw.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        said = first + process.communicate()[0]
        committed = [int(line.split()[1]) for line in said.splitlines() if line.startswith("committed")]
        store = ModelStore(store_folder)
        assert store.own()
        current, newest = store.current, max([newest, *committed])
        if newest:
            assert current is not None and current.version >= newest
            newest = current.version
            assert load_device(current.folder).manifest.digest == current.digest
        store.release()
    assert newest > CUTS / 10
