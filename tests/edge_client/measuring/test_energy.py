"""Energy where the board measures it, by files as Linux has them; and an honest answer elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_client.measuring.energy import Energy, EnergyMeter, Meter, find_meter


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_board_without_sensors_does_not_know(tmp_path):
    write(tmp_path / "hwmon0", name="cpu_thermal", temp1_input="51000")
    assert find_meter(tmp_path / "none", tmp_path) is None


def test_rapl_is_read_and_its_wrap_is_no_loss(tmp_path):
    package = tmp_path / "intel-rapl:0"
    write(package, name="package-0", energy_uj="9000000", max_energy_range_uj="10000000")
    meter = find_meter(tmp_path, tmp_path / "none")
    assert meter is not None and meter.name == "RAPL package-0"
    clock = Clock()
    energy = EnergyMeter(meter, clock)
    energy.start()
    (package / "energy_uj").write_text("2000000")
    clock.now = 2.0
    assert energy.stop() == Energy(3.0, 2.0, "RAPL package-0")


def test_the_first_rail_of_an_ina3221_is_the_boards(tmp_path):
    write(tmp_path / "hwmon3", name="ina3221", in1_input="5000", curr1_input="1200", in2_input="9", curr2_input="9")
    meter = find_meter(tmp_path / "none", tmp_path)
    assert meter is not None and meter.watts is not None
    assert (meter.name, meter.watts()) == ("ina3221 rail 1", 6.0)


def test_power_of_hwmon_is_in_microwatts(tmp_path):
    write(tmp_path / "hwmon1", name="rp1_adc", power1_input="4500000")
    meter = find_meter(tmp_path / "none", tmp_path)
    assert meter is not None and meter.watts is not None and meter.watts() == 4.5


def test_a_sensor_that_may_not_be_read_is_passed_over(tmp_path):
    (tmp_path / "hwmon0" / "power1_input").mkdir(parents=True)
    write(tmp_path / "hwmon1", name="ina219", power1_input="2000000")
    meter = find_meter(tmp_path / "none", tmp_path)
    assert meter is not None and meter.name == "ina219 power1_input"


@pytest.mark.parametrize("readings", [(5.0, 5.0), (0.0, 1e9)], ids=["stands still", "cannot be"])
def test_a_counter_that_says_what_cannot_be_says_nothing(readings):
    values, clock = iter(readings), Clock()
    energy = EnergyMeter(Meter("odd", joules=lambda: next(values)), clock)
    energy.start()
    clock.now = 1.0
    assert energy.stop() is None


def test_power_is_added_up_over_time():
    seconds = iter(range(1000))
    energy = EnergyMeter(Meter("ina", watts=lambda: 4.0), clock=lambda: float(next(seconds)), poll_s=0.001)
    energy.start()
    energy._thread.join(0.05)
    found = energy.stop()
    assert found is not None and found.meter == "ina"
    assert found.joules % 4.0 == 0 and found.joules > 0
