"""What a stranger may say of an artefact, and what is refused."""

from __future__ import annotations

import json

import pytest

from splitnet.errors import UpdateError
from splitnet.updates.artefact import SELF_TEST_FILE, SelfTest, artefact_from_json
from tests.support.artefacts import sized, update, whole


def test_what_is_written_is_read_again():
    one = update(7, "old", "new")
    assert artefact_from_json(json.loads(json.dumps(one.to_json()))) == one
    assert one.target == "7-tiny.torch.update"


def test_a_self_test_is_read_again():
    values = whole(3, "new").to_json() | {"self_test": {"width": 1, "quality": 2, "seed": 5, "agreement_percent": 98}}
    values["files"].append(sized(SELF_TEST_FILE, 20).__dict__)
    assert artefact_from_json(values).self_test == SelfTest(1, 2, 5, 98)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "-rf", "a..b", "x" * 65, "a b", "a\nb", "C:x", "\u0430"]
)
def test_names_that_lead_elsewhere_are_refused(name):
    values = whole(1, "new").to_json()
    values["files"][0]["name"] = name
    with pytest.raises(UpdateError):
        artefact_from_json(values)


@pytest.mark.parametrize(
    "changed",
    [
        {"kind": "firmware"},
        {"form": "tflite"},
        {"version": 0},
        {"version": -1},
        {"version": 1 << 60},
        {"version": "2"},
        {"version": True},
        {"result": "ab"},
        {"result": "AB" * 32},
        {"base": "ab" * 32},  # a whole bundle has none
        {"files": []},
        {"files": {}},
        {"files": [None]},
        {"files": [sized("same", 1).__dict__, sized("same", 1).__dict__]},
        {"files": [sized(f"n{i}", 1).__dict__ for i in range(81)]},
        {"files": [sized("large", 1).__dict__ | {"bytes": 1_000_000_001, "packing": "zstd"}]},
        {"files": [sized(f"n{i}", 900_000_000).__dict__ for i in range(3)]},
        {"files": [sized("x", 1).__dict__ | {"packing": "xz"}]},
        {"files": [sized("x", 1).__dict__ | {"bytes": 10**400}]},
        {"files": [sized("x", 1).__dict__ | {"stored_bytes": 2}]},
        {"self_test": {"width": 1, "quality": 2, "seed": 5, "agreement_percent": 98}},  # without its file
        {"note": "x" * 1001},
        {"note": "\x1b[2J"},
    ],
)
def test_what_no_artefact_is_gets_refused(changed):
    with pytest.raises(UpdateError):
        artefact_from_json(whole(1, "new").to_json() | changed)


@pytest.mark.parametrize("values", [None, [], "x", 3, {"kind": "bundle"}])
def test_other_values_are_refused(values):
    with pytest.raises(UpdateError, match="damaged"):
        artefact_from_json(values)


def test_an_update_needs_a_base():
    with pytest.raises(UpdateError, match="base"):
        artefact_from_json(update(1, "old", "new").to_json() | {"base": ""})


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(UpdateError, match="no file encoder"):
        whole(1, "new").file("encoder")
