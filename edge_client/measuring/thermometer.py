"""The temperature of the board, where it measures one."""

from __future__ import annotations

from contextlib import suppress

import psutil

from edge_client.measuring.cpu_sampler import SENSOR_ERRORS

HIGHEST_C = 150.0  # beyond it, a sensor is broken


def temperature_c() -> float:
    """Return the hottest part's temperature in degrees Celsius, 0 if nothing measures it."""
    with suppress(*SENSOR_ERRORS):
        found = [one.current for sensors in psutil.sensors_temperatures().values() for one in sensors]
        return max((one for one in found if 0 < one < HIGHEST_C), default=0.0)
    return 0.0
