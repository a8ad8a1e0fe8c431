"""Competing processes: the schedule exactly, on a clock of its own; and real ones that end with their parent."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks.harness.cpu_load import PERIOD_S, LoadSchedule, burn, main
from benchmarks.harness.processes import PROJECT
from splitnet.errors import ConfigError

STEPPED = LoadSchedule(((0.0, 0.0), (0.3, 0.5), (0.5, 1.0)))


def test_a_schedule_is_read_as_it_is_written():
    assert LoadSchedule.parse("0:0, 10:0.5,20:1") == LoadSchedule(((0.0, 0.0), (10.0, 0.5), (20.0, 1.0)))


@pytest.mark.parametrize("text", ["", "1", "0:2", "0:-0.1", "5:1, 0:1", "a:b", "0:0:0"])
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ConfigError, match="SECOND:DUTY"):
        LoadSchedule.parse(text)


def test_a_duty_holds_until_the_next_and_there_is_none_before_the_first():
    schedule = LoadSchedule(((1.0, 0.5), (2.0, 0.25)))
    assert [schedule.duty(now) for now in (0.0, 1.0, 1.9, 2.0, 99.0)] == [0.0, 0.5, 0.5, 0.25, 0.25]


class FakeProcessor:
    """A clock that looking at takes a millisecond of work, and a sleep that takes what it says."""

    def __init__(self) -> None:
        self.now = 0.0
        self.busy: list[float] = []

    def clock(self) -> float:
        self.now += 0.001
        self.busy.append(self.now)
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)


def busy_share(processor: FakeProcessor, begin_s: float, end_s: float) -> float:
    return 0.001 * sum(begin_s < moment <= end_s for moment in processor.busy) / (end_s - begin_s)


def test_a_process_is_busy_for_its_share_of_every_period():
    processor = FakeProcessor()
    burn(STEPPED, lambda: processor.now < 0.8, processor.clock, processor.sleep)
    assert busy_share(processor, 0.0, 0.3) == pytest.approx(0.0, abs=0.05)
    assert busy_share(processor, 0.3, 0.5) == pytest.approx(0.5, abs=0.05)
    assert busy_share(processor, 0.5, 0.8) == pytest.approx(1.0, abs=0.05)
    assert processor.now == pytest.approx(0.8, abs=2 * PERIOD_S)


def test_a_process_that_was_held_up_does_not_make_up_for_it():
    processor = FakeProcessor()
    late = iter([5.0])
    burn(
        LoadSchedule(((0.0, 0.5),)),
        lambda: processor.now < 5.4,
        processor.clock,
        lambda seconds: processor.sleep(next(late, seconds)),
    )
    assert busy_share(processor, 5.0, 5.4) == pytest.approx(0.5, abs=0.1)


def test_the_processes_end_when_their_parent_is_killed():
    command = "[sys.executable, '-m', 'benchmarks.harness.cpu_load', '--processes', '3', '--schedule', '0:0']"
    parent = subprocess.Popen([sys.executable, "-c", f"import subprocess, sys; subprocess.run({command})"], cwd=PROJECT)
    try:
        while len(children := psutil.Process(parent.pid).children(recursive=True)) < 3:  # it, and two of its own
            assert parent.poll() is None
    finally:
        parent.kill()
        parent.wait()
    assert not psutil.wait_procs(children, timeout=60)[1]


def test_the_command_says_what_is_wrong_in_a_line(capsys):
    assert main(["--schedule", "soon"]) == 2
    assert main(["--processes", "0"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("cpu-load: a load schedule is") and said[1] == "cpu-load: --processes must be at least 1"
