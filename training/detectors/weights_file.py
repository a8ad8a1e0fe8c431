"""Read the weights of a detector by the names of its parameters, whatever the file. Never unpickles anything else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from splitnet.errors import ConfigError
from training.detectors.detector_file import DETECTOR_FILE

_NESTS = ("model", "state_dict")  # where checkpoints of a training keep the weights


def weights_path(path: Path) -> Path:
    """Return the file that is meant: of a folder (a bundle, or the --run of a `detector` training), its detector."""
    return path / DETECTOR_FILE if path.is_dir() else path


def read_state(path: Path) -> dict[str, Tensor]:
    """Return what a .pth or .safetensors file holds, by name. ConfigError if it cannot be read, or is no such file."""
    if not path.is_file():
        raise ConfigError(f"{path} is not a file: give a checkpoint, a bundle or the --run of a `detector` training")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no dict
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    except Exception as error:  # the unpickler raises many kinds
        raise ConfigError(f"{path} is damaged, or holds more than weights: save its weights alone") from error
    while isinstance(content, dict) and (nests := [n for n in _NESTS if isinstance(content.get(n), dict)]):
        content = content[nests[0]]
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no weights by name")
    return {str(key).removeprefix("module."): value for key, value in content.items() if isinstance(value, Tensor)}


def check_member(
    state: Mapping[str, Tensor],
    parameters: Sequence[str],
    size_of: Callable[[Mapping[str, Tensor]], str | None],
    name: str,
    family: str,
    path: Path,
) -> None:
    """Raise ConfigError unless a state is of the detector `name`; path is for messages.

    parameters: that every member has. size_of: tells the members apart. family: with its article, "a YOLOX".
    """
    missing = [parameter for parameter in parameters if parameter not in state]
    if missing:
        raise ConfigError(f"{path} holds no {family.split()[-1]}: it has no {missing[0]}")
    found = size_of(state)
    if found != name:
        what = f"a {found}: name that one" if found else f"{family} of a size that is not known here"
        raise ConfigError(f"{path} is not a {name} but {what}")


def fill(detector: torch.nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Give a detector a state in single precision; path is for messages.

    ConfigError if the state is of another detector or has numbers that are not finite.
    """
    single = {key: value.float() if value.is_floating_point() else value for key, value in state.items()}
    try:
        detector.load_state_dict(single)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise ConfigError(f"{path} is not a whole {name}: {reason}") from error
    if not all(bool(torch.isfinite(value).all()) for value in detector.state_dict().values()):
        raise ConfigError(f"{path} has weights that are not finite: its training has gone wrong")
