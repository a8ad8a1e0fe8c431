"""The examples of a source, a sink and a policy of one's own, against a real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.harness.processes import server_process
from edge_client.adaptation.policy import FrameContext
from examples import own_policy, own_sink, own_source
from splitnet.manifest import load_manifest
from splitnet.operating_point import SKIP


@pytest.fixture(scope="module")
def where(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    log = tmp_path_factory.mktemp("examples") / "log"
    with server_process(tiny_bundle, log, "--no-tune") as server:
        yield ["--server", server.address, "--bundle", str(tiny_bundle)]


@pytest.fixture
def images(tmp_path: Path, photo: np.ndarray) -> str:
    for number in range(3):
        assert cv2.imwrite(str(tmp_path / f"{number}.png"), photo)
    return str(tmp_path)


def test_a_source_of_ones_own_is_sent(where, capsys):
    own_source.main([*where, "--frames", "3"])
    shown = re.findall(r"^frame \d+: \d+ objects in (\d+) bytes$", capsys.readouterr().out, re.MULTILINE)
    assert 1 <= len(shown) <= 3 and all(int(size) > 0 for size in shown)


def test_a_sink_of_ones_own_gets_every_answer(where, images, capsys):
    own_sink.main([*where, "--source", images])
    out = capsys.readouterr().out
    assert re.match(r"[1-3] frames\n", out) and "a frame  class " in out


def test_a_policy_of_ones_own_decides(where, images, capsys):
    own_policy.main([*where, "--source", images, "--bytes-per-s", "1e6"])
    assert re.search(r"^frame \d+: w4 q2, \d+ bytes$", capsys.readouterr().out, re.MULTILINE)


def test_an_allowance_is_saved_up_and_never_overdrawn_by_more_than_a_frame(tiny_bundle):
    policy = own_policy.Allowance(load_manifest(tiny_bundle), bytes_per_s=100.0)
    context = FrameContext(1, 0.0, 0.0, 1)
    first = policy.choose(0.0, context).point
    assert first.quality == 2
    policy.encoded(0.0, 1, first, 1.0, 150)
    assert policy.choose(0.1, context).point == SKIP
    assert policy.choose(1.6, context).point.quality == 1  # the finest has cost more than is ever saved
