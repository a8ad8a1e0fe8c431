"""Inputs of fuzzing once more, without a fuzzer; and how it is run and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from splitnet.errors import BundleError, ConfigError
from splitnet.manifest import ENCODER_FILE
from tests.fuzzing import runner, seeds
from tests.fuzzing.__main__ import main
from tests.fuzzing.access_targets import within_cost
from tests.fuzzing.runner import Budget, finding, fuzz, row
from tests.fuzzing.targets import CORPUS, all_targets, run

TARGETS = list(all_targets(Path()))
INPUTS = [(target, path.name) for target in TARGETS for path in sorted((CORPUS / target).glob("*"))]
# Valid on every machine; the others hold floats, or are there to be refused.
VALID = {
    "bitstream": "rans",
    "bitstream-context": "rans",
    "changes": "golden",
    "layers": "first-3",
    "h264": "key",
    "rans": "table-0",
    "zstd": "golden",
    "jpeg": "ramp",
    "webp": "ramp",
    "request": "frame",
    "status": "pi",
    "infer-request": "frame",
    "reply": "detections",
    "tuning": "two-threads",
    "profile": "kept",
    "trace-csv": "steps",
    "trace-mahimahi": "packets",
    "latent": "extremes",
    "predictions": "two",
    "weights": "tiny",
    "device-root": "own",
    "enrol-request": "root",
    "enrol-reply": "told",
    "enrol-link": "invited",
    "common-name": "camera",
    "artefact": "bundle",
    "patch": "inserted",
    "update-file": "patched",
    "weight-update": "golden",
}
MAX_CORPUS_BYTES = 100_000
SAID = """#2	INITED cov: 40 ft: 41 corp: 3/9b exec/s: 0 rss: 330Mb
#90	NEW    cov: 44 ft: 51 corp: 5/20b lim: 4 exec/s: 0 rss: 331Mb
Done 1000 runs in 2 second(s)
stat::number_of_executed_units: 1000
stat::slowest_unit_time_sec:    0
stat::peak_rss_mb:              331
"""
CRASHED = """
 === Uncaught Python exception: ===
OverflowError: int too large to convert to float
Traceback (most recent call last):
==123== ERROR: libFuzzer: fuzz target exited
SUMMARY: libFuzzer: fuzz target exited
stat::number_of_executed_units: 77
"""


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzing")


# The corpus.


@pytest.mark.parametrize(("target", "name"), INPUTS, ids=["/".join(pair) for pair in INPUTS])
def test_a_target_survives_its_corpus(target, name, scratch):
    run(all_targets(scratch)[target], (CORPUS / target / name).read_bytes())


def test_an_input_that_costs_too_much_is_a_finding():
    with pytest.raises(AssertionError, match="an input of 3 bytes costs"):
        within_cost(lambda data: print(*range(1000)), 0.0)(b"abc")
    within_cost(lambda data: None, 60.0)(b"abc")


@pytest.mark.parametrize(("target", "name"), VALID.items(), ids=VALID)
def test_a_valid_input_gets_to_the_end_of_its_target(target, name, scratch):
    all_targets(scratch)[target]((CORPUS / target / name).read_bytes())


def test_every_target_has_something_to_start_from_and_all_of_it_is_small():
    assert {target for target, _ in INPUTS} == set(TARGETS)
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum((CORPUS / target / name).stat().st_size for target, name in INPUTS) < MAX_CORPUS_BYTES


def test_seeds_can_be_written_anew(tmp_path):
    assert 0 < seeds.write(tmp_path) < MAX_CORPUS_BYTES
    written = {(path.parent.name, path.name) for path in tmp_path.glob("*/*")}
    assert written == {(target, name) for target, name in INPUTS if not name.startswith("found-")}
    for target in ("bitstream", "rans"):  # the others follow what messages and settings there are
        for path in (tmp_path / target).iterdir():
            assert path.read_bytes() == (CORPUS / target / path.name).read_bytes()


def test_whatever_is_not_an_error_of_ours_is_a_finding():
    def broken(data: bytes) -> None:
        raise IndexError(len(data))

    def verbose(data: bytes) -> None:
        raise BundleError("two\nlines")

    with pytest.raises(IndexError):
        run(broken, b"x")
    with pytest.raises(AssertionError, match="one line"):
        run(verbose, b"x")


# Found: types of numbers that torch or NumPy cannot compute with.


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.bfloat16])
@pytest.mark.parametrize("prefix", ["gains", "entropy.", "layers."])
def test_weights_of_a_type_that_bundles_do_not_use_are_refused(tiny_bundle, scratch, prefix, dtype):
    tensors = load((tiny_bundle / ENCODER_FILE).read_bytes())
    odd = {name: tensor.float().to(dtype) for name, tensor in tensors.items() if name.startswith(prefix)}
    with pytest.raises(BundleError, match="which bundles do not use"):
        all_targets(scratch)["weights"](save({**tensors, **odd}))


def test_entropy_tables_that_are_no_integers_are_refused(tiny_bundle, scratch):
    tensors = load((tiny_bundle / ENCODER_FILE).read_bytes())
    odd = {name: tensor.float() * float("nan") for name, tensor in tensors.items() if name.startswith("entropy.")}
    with pytest.raises(BundleError, match="not finite"):
        all_targets(scratch)["weights"](save({**tensors, **odd}))


# The runner.


def test_a_row_holds_what_the_fuzzer_said_last():
    assert row("request", SAID, 0, 4.0) == {
        "target": "request",
        "executions": 1000,
        "executions_per_s": 250.0,
        "coverage": 44,
        "corpus_inputs": 5,
        "slowest_input_s": 0,
        "memory_mb_peak": 331,
        "finding": None,
    }


def test_a_finding_is_named_by_its_exception_or_by_what_the_fuzzer_calls_it():
    assert row("profile", CRASHED, 77, 1.0)["finding"] == "OverflowError: int too large to convert to float"
    assert finding("SUMMARY: libFuzzer: timeout\n") == "timeout"
    assert finding("") == "the process died"


def test_a_target_that_never_ran_is_an_error():
    with pytest.raises(ConfigError, match="could not be fuzzed: ImportError"):
        row("request", "Traceback\nImportError: no such thing", 1, 1.0)


@pytest.mark.parametrize("bounds", [(0, 1.0), (1, 0.0), (10**10, 1.0), (1, 1e6)])
def test_a_budget_has_bounds(bounds):
    with pytest.raises(ConfigError, match="--executions takes"):
        Budget(*bounds)


def test_without_the_fuzzer_it_is_one_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    assert main(["request", "--corpus", str(tmp_path), "--findings", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("fuzzing: fuzzing needs atheris")


def test_executions_are_added_up_and_a_finding_fails_the_run(monkeypatch, capsys, tmp_path):
    def said(name, *rest):
        return row(name, CRASHED if name == "zstd" else SAID, 77 if name == "zstd" else 0, 1.0)

    monkeypatch.setattr("tests.fuzzing.__main__.fuzz", said)
    assert main(["all", "--out", str(tmp_path / "fuzz.json")]) == 1
    result = json.loads((tmp_path / "fuzz.json").read_text())
    assert result["executions"] == 1000 * (len(TARGETS) - 1) + 77
    assert result["findings"] == 1
    assert {"commit", "machine"} <= result.keys()
    assert main(["request"]) == 0


def test_earlier_runs_are_added_and_their_findings_are_history(monkeypatch, capsys, tmp_path):
    earlier = {"commit": "abc", "targets": [row("zstd", CRASHED, 77, 1.0), row("zstd", SAID, 0, 1.0)]}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    monkeypatch.setattr("tests.fuzzing.__main__.fuzz", lambda name, *rest: row(name, SAID, 0, 1.0))
    out = tmp_path / "fuzz.json"
    assert main(["zstd", "--out", str(out), "--add", str(tmp_path / "earlier.json")]) == 0
    result = json.loads(out.read_text())
    assert (result["executions"], result["findings"], result["earlier"]) == (2077, 0, ["abc"])
    assert result["targets"][0]["memory_mb_peak"] == 331


def test_one_target_can_be_added_to_the_figures_of_all(monkeypatch, capsys, tmp_path):
    out = tmp_path / "fuzz.json"
    rows = [row("request", SAID, 0, 1.0), row("zstd", SAID, 0, 1.0)]
    out.write_text(json.dumps({"commit": "new", "earlier": ["old"], "targets": rows}))
    monkeypatch.setattr("tests.fuzzing.__main__.fuzz", lambda name, *rest: row(name, SAID, 0, 1.0))
    assert main(["zstd", "--out", str(out), "--add", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [(one["target"], one["executions"]) for one in result["targets"]] == [("zstd", 2000), ("request", 1000)]
    assert (result["executions"], result["earlier"]) == (3000, ["old", "new"])


def test_the_fuzzer_itself_runs(tmp_path):
    pytest.importorskip("atheris", reason="atheris is not installed: pip install -e .[fuzz]")
    found = fuzz("request", Budget(500, 60.0), tmp_path / "corpus", tmp_path / "findings")
    assert found["executions"] == 500
    assert found["finding"] is None
