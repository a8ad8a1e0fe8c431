"""Settings from a TOML file and from the environment, by the same definitions as the command line (`settings.option`).

    [run]                          # a table for each command
    server = ["near:50051", "far:50051"]
    deadline_ms = 200

    [outputs.mqtt]                 # a table that several commands share: the setting mqtt_url
    url = "mqtt://broker"

What wins: the command line, then the environment (`SLIMSPLIT_DEADLINE_MS`), then the file, then the default. A file
is named by `--config` or `SLIMSPLIT_CONFIG`. Every problem is told at once, with the nearest name that there is.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from splitnet.errors import ConfigError
from splitnet.regular_file import read_regular
from splitnet.setting_values import ValueProblemError, value_from_text, value_from_toml
from splitnet.settings import add_settings, flag_of
from splitnet.text import printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PREFIX = "SLIMSPLIT_"
FILE_VARIABLE = f"{PREFIX}CONFIG"
DEFAULT = "default"
MAX_FILE_BYTES = 1_000_000
ALIKE = 0.6  # of difflib: names that are nearer are suggested

C = TypeVar("C")
Sections = Mapping[str, type[Any]]  # the settings of each command that a file may hold


@dataclass(frozen=True)
class Configured:
    """A value, and where it comes from: "default", "command line", "file.toml" or the name of a variable."""

    value: Any
    origin: str


@dataclass
class ConfigFile:
    """The tables of a file, and what is wrong with them."""

    path: Path | None = None
    text: str = ""
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    written: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)  # where what is flattened stood

    def complain(self, name: str, message: str) -> None:
        """Note a problem with a key or a table, with its line if it can be found."""
        lines = self.text.splitlines()
        starts = (i for i, line in enumerate(lines, 1) if line.strip(" \t[").startswith((name, f'"{name}"')))
        line = next(starts, None)
        self.problems.append(f"{self.path}{'' if line is None else f', line {line}'}: {message}")


def add_configurable(parser: argparse.ArgumentParser, config: type[Any]) -> None:
    """Add the options of a settings class, and `--config`; to be read by `read_configured`."""
    add_settings(parser, config, given_only=True)
    text = f"settings in TOML, which options and variables ({PREFIX}...) override; see the command check"
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help=text)


def read_configured(
    section: str, sections: Sections, arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ
) -> Any:
    """Return the settings of a command. ConfigError names everything that is wrong with file and variables."""
    config = sections[section]
    path = arguments.config or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    file = read_config_file(path, sections)
    found = merged(config, section, file, environ)
    problems = [*file.problems, *unknown_variables(sections, environ)]
    found |= {
        one.name: Configured(getattr(arguments, one.name), "command line")
        for one in fields(config)
        if hasattr(arguments, one.name)
    }
    problems += missing(config, section, found)
    if problems:
        raise ConfigError("\n".join(problems))
    return config(**{name: one.value for name, one in found.items()})


def merged(config: type[Any], section: str, file: ConfigFile, environ: Mapping[str, str]) -> dict[str, Configured]:
    """Return what defaults, a file's table and the environment say of a command. Problems are noted in the file."""
    found = {one.name: Configured(one.default, DEFAULT) for one in fields(config) if one.default is not MISSING}
    for table in dict.fromkeys((*_shared_tables(config), section)):
        found |= _from_table(config, table, file)
    return found | _from_environment(config, file, environ)


def _shared_tables(config: type[Any]) -> Mapping[str, Sequence[str]]:
    """Return the tables that a command shares with others, each with the tables inside it."""
    shared: Mapping[str, Sequence[str]] = getattr(config, "shared_tables", {})
    return shared


def _from_table(config: type[Any], table: str, file: ConfigFile) -> dict[str, Configured]:
    found = {}
    own = _shared_tables(config).get(table)
    by_name = {one.name: one for one in fields(config) if own is None or one.name in _names_of(config, table)}
    for key, value in file.tables.get(table, {}).items():
        written = file.written.get((table, key), (table, key))
        if key not in by_name:
            start = key.removesuffix(written[1])
            near = nearest(written[1], {name.removeprefix(start): name for name in by_name if name.startswith(start)})
            file.complain(written[1], f"[{written[0]}] has no setting {_quoted(written[1])}{near}")
            continue
        try:
            found[key] = Configured(value_from_toml(config, by_name[key], value), str(file.path))
        except ValueProblemError as error:
            file.complain(written[1], f"{written[1]} {error}")
    return found


def _names_of(config: type[Any], table: str) -> Collection[str]:
    """Return the settings that stand in a shared table: those of the class that has it."""
    owners = [one for one in config.__mro__ if table in vars(one).get("shared_tables", ())]
    return {one.name for one in fields(owners[-1])} if owners else ()


def _from_environment(config: type[Any], file: ConfigFile, environ: Mapping[str, str]) -> dict[str, Configured]:
    found = {}
    for one in fields(config):
        variable = variable_of(one.name)
        if variable in environ:
            try:
                found[one.name] = Configured(value_from_text(config, one, environ[variable]), variable)
            except ValueProblemError as error:
                file.problems.append(f"{variable} {error}")
    return found


def missing(config: type[Any], section: str, found: Mapping[str, Configured]) -> list[str]:
    """Return a line for every setting that must be given and is not."""
    return [
        f"{flag_of(one.name)} is missing: give it, or {one.name} in the table [{section}] of --config FILE, "
        f"or {variable_of(one.name)}"
        for one in fields(config)
        if is_needed(one) and found.get(one.name, Configured("", DEFAULT)).value == ""
    ]


def is_needed(one: Field[Any]) -> bool:
    """Return whether a setting must be given."""
    return bool(one.metadata.get("argparse", {}).get("required", one.default is MISSING))


def unknown_variables(sections: Sections, environ: Mapping[str, str]) -> list[str]:
    """Return a line for every variable that looks like one of these settings, but is none.

    Others with our prefix may belong to the program at the other end.
    """
    known = {variable_of(one.name) for config in sections.values() for one in fields(config)} | {FILE_VARIABLE}
    strange = sorted(name for name in environ if name.startswith(PREFIX) and name not in known)
    near = {name: get_close_matches(name, known, 1, 0.9) for name in strange}
    return [f"{printable(name)} is no setting; did you mean {found[0]}?" for name, found in near.items() if found]


def read_config_file(path: Path | None, sections: Sections) -> ConfigFile:
    """Return the tables of a file, with what is wrong with its outline; an empty one without a path.

    Raises ConfigError if it cannot be read, or is not TOML.
    """
    if path is None:
        return ConfigFile()
    try:
        text = read_regular(path, MAX_FILE_BYTES).decode()
        values = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give a file of settings in TOML") from error
    except (ValueError, RecursionError) as error:  # of the encoding, too
        raise ConfigError(f"{path} is not TOML: {' '.join(str(error).split()) or 'nested too deep'}") from error
    file = ConfigFile(path, text)
    for name, value in values.items():
        _take_table(file, name, value, sections)
    return file


def _take_table(file: ConfigFile, name: str, value: Any, sections: Sections) -> None:
    if not isinstance(value, dict):
        homes = [section for section, config in sections.items() if name in config.__dataclass_fields__]
        home = homes[0] if homes else next(iter(sections))
        file.complain(name, f"{_quoted(name)} stands outside of a table: put it below [{home}]")
    elif name not in sections:
        file.complain(name, f"there is no table [{printable(name)}]{nearest(name, sections)}")
    else:
        file.tables[name] = _flattened(file, name, value, sections[name])


def _flattened(file: ConfigFile, name: str, table: Mapping[str, Any], config: type[Any]) -> dict[str, Any]:
    """Return a table's settings, those of the tables inside it by longer names: url in [outputs.mqtt] is mqtt_url."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and key in _shared_tables(config).get(name, ()):
            file.written |= {(name, f"{key}_{one}"): (f"{name}.{key}", one) for one in value}
            flat |= {f"{key}_{one}": inner for one, inner in value.items()}
        else:
            flat[key] = value
    return flat


def variable_of(name: str) -> str:
    """Return the environment's variable of a setting: "SLIMSPLIT_DEADLINE_MS"."""
    return PREFIX + name.upper()


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """Return a question that names what was perhaps meant, or says what there is."""
    found = get_close_matches(name.replace("-", "_").lower(), known, 1, ALIKE)
    return f"; did you mean {found[0]}?" if found else f": there are {', '.join(known)}"


def _quoted(name: str) -> str:
    return repr(printable(name, 80))
