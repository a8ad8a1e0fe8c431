"""The value of one setting, from TOML or from a variable's text, by the definition that its command line has."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import Field
from pathlib import Path
from typing import Any, get_type_hints

from splitnet.errors import ConfigError
from splitnet.settings import kind_of, reader_of
from splitnet.text import printable, without_secrets

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "text, a path"}
_TAKES: dict[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,), Path: (str,)}


class ValueProblemError(ConfigError):
    """A value does not fit its setting; the message goes on after the setting's name."""


def value_from_toml(config: type[Any], setting: Field[Any], value: Any) -> Any:
    """Return the value of a setting as TOML states it. Raises ValueProblemError."""
    if _is_list(setting):
        listed = value if isinstance(value, list) else [value]
        return [_checked(config, setting, one) for one in listed]
    return _checked(config, setting, value)


def value_from_text(config: type[Any], setting: Field[Any], text: str) -> Any:
    """Return the value of a setting as a variable states it; its separator divides a list. Raises ValueProblemError."""
    hint = get_type_hints(config)[setting.name]
    if _is_list(setting):
        return [
            _read(reader_of(hint), one.strip())
            for one in text.split(setting.metadata.get("separator", ","))
            if one.strip()
        ]
    if kind_of(hint) is bool:
        return _truth(text)
    return _chosen(setting, _read(_given(setting, "type") or reader_of(hint), text))


def _checked(config: type[Any], setting: Field[Any], value: Any) -> Any:
    hint = get_type_hints(config)[setting.name]
    kind, reader = kind_of(hint), _given(setting, "type")
    takes = _TAKES.get(kind, (str,))
    if not isinstance(value, takes) or (isinstance(value, bool) and kind is not bool):
        raise ValueProblemError(f"must be {_NAMES.get(kind, 'text')}, not {_shown(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueProblemError(f"must be a number with a bound, not {value}")
    if reader is not None:
        return _chosen(setting, _read(reader, str(value)))
    return _chosen(setting, value if kind is bool else kind(value))


def _read(reader: Callable[[str], Any], text: str) -> Any:
    try:
        return reader(text)
    except (argparse.ArgumentTypeError, ConfigError) as error:
        raise ValueProblemError(f"is not valid: {error}") from error
    except ValueError as error:
        raise ValueProblemError(f"must be {_NAMES.get(reader, 'valid')}, not {_shown(text)}") from error  # type: ignore[call-overload]


def _truth(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueProblemError(f"must be true or false, not {_shown(text)}")


def _chosen(setting: Field[Any], value: Any) -> Any:
    choices: Sequence[Any] = _given(setting, "choices") or ()
    if choices and value not in choices:
        raise ValueProblemError(f"must be one of {', '.join(map(str, choices))}, not {_shown(value)}")
    return value


def _given(setting: Field[Any], name: str) -> Any:
    return setting.metadata.get("argparse", {}).get(name)


def _is_list(setting: Field[Any]) -> bool:
    return bool(_given(setting, "action") == "append")


def _shown(value: Any) -> str:
    return printable(without_secrets(repr(value)), 80)
