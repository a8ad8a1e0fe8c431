"""The command `check` of both programs: is a file of settings right, and what holds in the end?"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from splitnet.configuration import (
    Configured,
    Sections,
    is_needed,
    merged,
    missing,
    read_config_file,
    unknown_variables,
)
from splitnet.errors import ConfigError
from splitnet.settings import add_command, flag_of
from splitnet.text import escaped, without_secrets
from splitnet.text_table import text_table

if TYPE_CHECKING:
    from argparse import _SubParsersAction

WIDTH = 110  # of comments


@dataclass(frozen=True)
class Checked:
    """What holds in each table of a file, and what is wrong."""

    settings: Mapping[str, Mapping[str, Configured]]
    problems: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        tables = {
            section: {name: {"value": _shown(one.value), "origin": one.origin} for name, one in found.items()}
            for section, found in self.settings.items()
        }
        return {"problems": list(self.problems), **tables}

    def to_text(self) -> str:
        """Return a table of the settings for people."""
        rows = [
            (f"[{section}] {name}", _shown(one.value), escaped(one.origin))
            for section, found in self.settings.items()
            for name, one in found.items()
        ]
        return text_table(("setting", "value", "from"), rows, left=("setting", "value", "from"))


def add_check(
    commands: _SubParsersAction[argparse.ArgumentParser], sections: Sections, say: Callable[[str], None]
) -> None:
    """Give a program the command `check`. sections: the tables of its files. say: prints lines of results."""

    def check(parsed: argparse.Namespace) -> int:
        if parsed.template:
            say(template(sections))
            return 0
        checked = check_config(parsed.file, sections)
        if parsed.json:
            say(json.dumps(checked.to_json(), indent=1))
        elif not checked.problems:
            say(checked.to_text())
        else:
            raise ConfigError("\n".join(checked.problems))
        return 2 if checked.problems else 0

    parser = add_command(commands, "check", "check a file of settings and the environment, and show what holds")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.toml", help="what --config would be given")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--template", action="store_true", help="print a file to begin with: every setting, explained")
    parser.set_defaults(command=check)


def check_config(path: Path | None, sections: Sections, environ: Mapping[str, str] = os.environ) -> Checked:
    """Look at the tables of a file, or, without one, at the environment for the program's first command."""
    try:
        file = read_config_file(path, sections)
    except ConfigError as error:
        return Checked({}, [str(error)])
    settings: dict[str, Mapping[str, Configured]] = {}
    for section in file.tables or (list(sections)[:1] if not file.problems else []):
        before = len(file.problems)
        settings[section] = merged(sections[section], section, file, environ)
        lacking = missing(sections[section], section, settings[section])
        file.problems += lacking
        if len(file.problems) == before:
            file.problems += _out_of_range(sections[section], section, settings[section])
    problems = dict.fromkeys([*file.problems, *unknown_variables(sections, environ)])  # tables that are shared: once
    return Checked(settings, list(problems))


def _out_of_range(config: type[Any], section: str, found: Mapping[str, Configured]) -> list[str]:
    """Return what the settings' own rules say against them: ranges, and what excludes each other."""
    try:
        config(**{name: one.value for name, one in found.items()})
    except ConfigError as error:
        return [f"[{section}] {error}"]
    return []


def template(sections: Sections) -> str:
    """Return a file with every setting, explained, and commented out where a default holds."""
    return "\n\n".join(_table(section, config) for section, config in sections.items())


def _table(section: str, config: type[Any]) -> str:
    inner = getattr(config, "shared_tables", {}).get(section, ())
    if not inner:  # what is shared stands in tables of its own
        inner_names = {one.name for other in config.__mro__[1:] if is_shared(other) for one in fields(other)}
        return "\n".join([f"[{section}]", *_entries([one for one in fields(config) if one.name not in inner_names])])
    own = [one for one in fields(config) if not one.name.startswith(tuple(f"{name}_" for name in inner))]
    lines = [f"[{section}]", *_entries(own)]
    for name in inner:
        start = f"{name}_"
        lines += ["", f"[{section}.{name}]"]
        lines += _entries([one for one in fields(config) if one.name.startswith(start)], start)
    return "\n".join(lines)


def is_shared(config: type[Any]) -> bool:
    """Return whether these settings stand in tables that several commands share."""
    return "shared_tables" in vars(config)


def _entries(settings: Sequence[Field[Any]], start: str = "") -> list[str]:
    """Return the lines of settings, their names without a beginning."""
    lines = []
    for one in settings:
        comment = without_default(one.metadata["help"])
        lines += ["", *(f"# {line}" for line in wrap(comment[:1].upper() + comment[1:] + ".", WIDTH))]
        lines.append(_entry(one, one.name.removeprefix(start)))
    return lines


def without_default(text: str) -> str:
    """Return a help text without the default that it names: the entry itself shows it."""
    return text.partition(" (default: ")[0]


def _entry(one: Field[Any], name: str) -> str:
    if is_needed(one):
        return f"# {name} = must be given, here, as {flag_of(one.name)} or as a variable"
    if one.default in (None, MISSING, (), ""):
        return f"# {name} ="
    return f"# {name} = {_toml(one.default)}"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else f'"{escaped(str(value))}"'


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value))
    return "" if value is None else escaped(without_secrets(str(value)))
