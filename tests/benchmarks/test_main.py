import json

import cv2
import pytest

from benchmarks.__main__ import main
from benchmarks.costs import codec
from benchmarks.harness.benchmark import milliseconds_p50
from benchmarks.harness.report import as_text, table

FIGURES = {"symbols", "entropy_bytes", "rans_bytes", "zstd3_bytes", "encode_ms_p50", "decode_ms_p50"}


def test_codec_writes_what_it_prints(tmp_path, capsys):
    out = tmp_path / "results" / "codec.json"
    assert main(["codec", "--repeats", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result.keys() >= FIGURES | {"commit", "machine", "cases"}
    assert "rans_bytes" in capsys.readouterr().out
    assert 19_000 < result["symbols"] < 20_000


def test_payloads_are_within_a_percent_of_the_entropy(tmp_path):
    out = tmp_path / "codec.json"
    main(["codec", "--repeats", "1", "--out", str(out)])
    for case in json.loads(out.read_text())["cases"]:
        assert case["entropy_bytes"] <= case["rans_bytes"] <= 1.01 * case["entropy_bytes"] + 8


def test_codec_measures_a_bundles_own_symbols(tmp_path, tiny_bundle, photo):
    images = tmp_path / "images"
    images.mkdir()
    cv2.imwrite(str(images / "photo.png"), photo)
    (images / "notes.txt").write_text("not an image")
    out = tmp_path / "codec.json"
    arguments = ["codec", "--repeats", "1", "--bundle", str(tiny_bundle), "--images", str(images), "--out", str(out)]
    assert main(arguments) == 0
    points = json.loads(out.read_text())["points"]
    assert [(point["width"], point["quality"]) for point in points] == [(w, q) for w in range(1, 5) for q in range(3)]
    assert all(point["rans_bytes"] <= 1.01 * point["entropy_bytes"] + 8 for point in points)


def test_a_bundle_without_images_is_an_error_on_one_line(tmp_path, tiny_bundle, capsys):
    assert main(["codec", "--bundle", str(tiny_bundle)]) == 2
    assert main(["codec", "--bundle", str(tiny_bundle), "--images", str(tmp_path)]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "give both" in first
    assert "holds no images" in second


def test_a_result_that_could_not_be_written_is_refused_before_anything_is_measured(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(codec, "_synthetic", lambda *_: pytest.fail("measured"))
    assert main(["codec", "--out", str(tmp_path / "file" / "codec.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"benchmarks codec: --out {tmp_path}/file/codec.json cannot be written")


def test_help_names_every_benchmark(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "codec" in capsys.readouterr().out


def test_tables_align_words_left_and_numbers_right():
    rows = [{"case": "a", "bytes": 5, "ms": 0.12345}, {"case": "long", "bytes": 12345, "ms": None}]
    assert table(rows) == "case  bytes      ms\na         5  0.1235\nlong  12345       -"


def test_a_report_lists_figures_before_tables():
    text = as_text({"rows": [{"n": 1}], "total": 1234.5, "machine": {"cores": 2}})
    assert text == "total    1234\nmachine  cores 2\n\nrows\nn\n1"


def test_the_median_time_is_of_the_action():
    calls = []
    assert milliseconds_p50(lambda: calls.append(None), 20) >= 0
    assert len(calls) == 22
