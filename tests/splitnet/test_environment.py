"""What is recorded beside every figure."""

import json
import platform
from pathlib import Path

from splitnet.environment import commit, environment, machine, processor


def test_the_record_is_json_and_names_commit_and_machine() -> None:
    record = json.loads(json.dumps(environment()))
    assert set(record) == {"commit", "machine"}
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["architecture"] == platform.machine()


def test_the_processor_has_a_name() -> None:
    assert processor().strip()


def test_the_record_tells_no_host_and_no_path() -> None:
    text = json.dumps(machine())
    assert str(Path.home()) not in text
    assert platform.node() not in text or len(platform.node()) < 4


def test_a_checkout_names_its_commit() -> None:
    revision = commit().removesuffix("-modified")
    assert revision == "unknown" or (len(revision) == 40 and set(revision) <= set("0123456789abcdef"))
