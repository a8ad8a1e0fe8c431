"""The size of a part's network: the largest that fits into what a device has."""

from __future__ import annotations

from splitnet.errors import ConfigError
from splitnet.groups.part_kinds import PooledConvSpec
from training.groups.pooled_part import cost_of

STEMS = range(64, 3, -4)  # channels of the first layer; the second has twice, the third four times as many


def sized(channels: int, most_parameters: int, most_mmacs: float) -> PooledConvSpec:
    """Return the largest network of a part within a budget. ConfigError if even the smallest is over it."""
    for stem in STEMS:
        spec = PooledConvSpec(channels, stem, 2 * stem, 4 * stem)
        parameters, mmacs = cost_of(spec)
        if parameters <= most_parameters and mmacs <= most_mmacs:
            return spec
    raise ConfigError(
        f"the smallest part of {channels} channels has {parameters} parameters and {mmacs:.2f} MMACs, "
        f"over the {most_parameters} and {most_mmacs:g} of a device: use more devices"
    )
