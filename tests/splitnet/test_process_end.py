from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import onnx
import pytest
from onnx import TensorProto, helper

from splitnet.process_end import run_to_end

# A thread is inside ONNX Runtime while the command ends, as an encoder is that takes longer than the end waits.
BUSY = """
import sys, threading, numpy, onnxruntime
from splitnet.process_end import run_to_end
session = onnxruntime.InferenceSession(sys.argv[1])
begun = threading.Event()
def compute():
    while True:
        begun.set()
        session.run(None, {"x": numpy.zeros((400, 400), numpy.float32)})
def main():
    threading.Thread(target=compute, daemon=True).start()
    begun.wait()
    sys.stdout.write("whole output")
    return 3
run_to_end(main)
"""


def write_model(path) -> None:
    """Write a model that multiplies a matrix with itself, again and again."""
    names = ["x", *(f"x{i}" for i in range(20))]
    nodes = [helper.make_node("MatMul", [one, one], [following]) for one, following in pairwise(names)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [400, 400]) for name in (names[0], names[-1])]
    graph = helper.make_graph(nodes, "busy", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_a_process_ends_with_its_code_while_a_thread_is_inside_a_library(tmp_path):
    write_model(tmp_path / "busy.onnx")
    command = [sys.executable, "-c", BUSY, str(tmp_path / "busy.onnx")]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (3, "whole output", "")


def test_without_other_threads_the_interpreter_ends_as_usual(monkeypatch):
    monkeypatch.setattr("threading.active_count", lambda: 1)
    with pytest.raises(SystemExit) as ended:
        run_to_end(lambda: 2)
    assert ended.value.code == 2
