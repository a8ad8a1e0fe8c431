"""The Python example of docs/split-points.md in small: random weights, three images, one cut."""

from __future__ import annotations

from typing import Any

from safetensors.torch import save_file

from splitnet.bundle import load_device
from tests.conftest import PROJECT
from tests.support.labelled_images import write_labelled
from tests.support.tiny_student import make_teacher

PAGE = "docs/split-points.md"
NAMES = ("person", "cup", "cat")
SMALL = {
    "yolox_nano.onnx": "weights.safetensors",
    "val.json": "val2017/annotations.json",
    "*.jpg": "*.png",
    '"photos"': '"val2017"',
    "limit=50": 'limit=3, annotations=Path("val2017/annotations.json"), input_size=64, fit_limit=1, cuts=("dark2",)',
    "names))": "names, input_size=64))",
}


def test_the_example_studies_cuts_and_splits_a_detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labelled(tmp_path / "val2017", NAMES)
    save_file(make_teacher().state_dict(), tmp_path / "weights.safetensors")
    _, _, rest = (PROJECT / PAGE).read_text("utf-8").partition("```python\n")
    example = rest.partition("```\n")[0]
    for usual, small in SMALL.items():
        assert usual in example
        example = example.replace(usual, small)
    names: dict[str, Any] = {}
    exec(compile(example, PAGE, "exec"), names)
    assert [cut["cut"] for cut in names["figures"]["cuts"]] == ["dark2"]
    assert names["choice"].cut.cut == "dark2"
    assert load_device(tmp_path / "bundles" / "free-nano").manifest.class_names == NAMES
