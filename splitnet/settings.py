"""A command's settings are a frozen dataclass, and its command line is derived from it.

    @dataclass(frozen=True)
    class ServeConfig:
        threads: int = option("CPU threads; 0 lets torch choose", default=0)

gives `--threads N`, whose help ends with the default. A bool, False unless given, is a flag. A field without a default
must be given. Settings are read back with `read_settings`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from splitnet.environment import version

if TYPE_CHECKING:
    from argparse import _ArgumentGroup, _SubParsersAction

DEFAULT_BUNDLE = Path(__file__).resolve().parent.parent / "bundles" / "coco-plus"  # what is shipped
NO_COMMAND = 2  # exit code

C = TypeVar("C")
_KINDS = (bool, int, float, str, Path)  # whose constructors read what a user writes
_METAVARS = {"int": "N", "count": "N", "number": "X", "share": "X", "Path": "PATH"}


def option(
    help: str,
    *,
    default: Any = MISSING,
    type: Callable[[str], Any] | None = None,
    metavar: str | tuple[str, ...] | None = None,
    choices: Sequence[Any] | None = None,
    required: bool | None = None,
    nargs: int | str | None = None,
    const: Any = None,
    action: str | None = None,
    aliases: Sequence[str] = (),
    group: str = "",
    last: bool = False,
    separator: str = ",",
) -> Any:
    """Return a field of a settings dataclass that is an option of the command line.

    help: plain text. type: what reads a value, if not the first of bool, int, float, str and Path in the annotation.
    required: whether it must be given, if not just where there is no default. nargs, const, action, metavar, choices:
    as argparse has them. aliases: other spellings ("--photographs"), which the help does not show. group: the heading
    that it stands under in the help. last: below those of the rest. separator: of the values of a list in a variable
    of the environment.
    """
    keywords: dict[str, Any] = {"type": type, "metavar": metavar, "choices": choices, "required": required}
    keywords |= {"nargs": nargs, "const": const, "action": action}
    given = {name: value for name, value in keywords.items() if value is not None}
    described = {"help": help, "aliases": tuple(aliases), "group": group, "last": last, "separator": separator}
    return field(default=default, metadata={**described, "argparse": given})


def same_option(config: type[Any], name: str, default: Any = MISSING) -> Any:
    """Return a field that is the same option as one of another settings class. default: its own, if it differs."""
    (known,) = (one for one in fields(config) if one.name == name)
    return field(default=known.default if default is MISSING else default, metadata=known.metadata)


def count(text: str) -> int:
    """Return a whole number from 1 on; argparse's error if it is none. For `option(type=count)`."""
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def number(text: str) -> float:
    """Return a number; argparse's error if it is none, or is without a bound. What reads every float."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return found


def share(text: str) -> float:
    """Return a number from 0 to below 1; argparse's error if it is none. For `option(type=share)`."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to below 1")
    return number


def add_settings(parser: argparse.ArgumentParser, config: type[Any], given_only: bool = False) -> None:
    """Add one option per field of a settings class, with its default and its help, under the fields' headings.

    given_only: what is not on the command line is not in the parsed arguments either, for `configuration`. Flags can
    then be taken back by `--no-...`, which the help does not show.
    """
    hints = get_type_hints(config)
    groups: dict[str, argparse.ArgumentParser | _ArgumentGroup] = {"": parser}
    for setting in sorted(fields(config), key=lambda one: bool(one.metadata.get("last"))):
        heading = setting.metadata.get("group", "")
        if heading not in groups:
            groups[heading] = parser.add_argument_group(heading)
        _add_option(groups[heading], setting, hints[setting.name], given_only)


def _add_option(
    parser: argparse.ArgumentParser | _ArgumentGroup, setting: Field[Any], hint: Any, given_only: bool
) -> None:
    described = setting.metadata
    given = described.get("argparse", {k: v for k, v in described.items() if k != "help"})  # plain metadata, still
    keywords = {"required": setting.default is MISSING, **given}
    kind = keywords.setdefault("type", reader_of(hint))
    if kind is bool:
        del keywords["type"]
        keywords["action"] = "store_true"
    elif "choices" not in keywords:
        keywords.setdefault("metavar", _METAVARS.get(kind.__name__))
    default = None if setting.default is MISSING else setting.default
    name = flag_of(setting.name)
    if given_only:
        keywords["required"] = False
        _add_opposite(parser, setting.name, kind)
    text = described["help"]
    if "(default: " not in text:
        text += _shown_default(default)
    added = parser.add_argument(
        name,
        *described.get("aliases", ()),
        dest=setting.name,
        default=argparse.SUPPRESS if given_only else default,
        help=text.replace("%", "%%"),
        **keywords,
    )
    added.option_strings = [name]  # the parser knows the aliases by now: help, usage and errors need not name them


def _add_opposite(parser: argparse.ArgumentParser | _ArgumentGroup, name: str, kind: Any) -> None:
    if kind is bool:
        opposite = flag_of(name.removeprefix("no_") if name.startswith("no_") else f"no_{name}")
        keywords = {"dest": name, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        parser.add_argument(opposite, action="store_false", **keywords)  # type: ignore[arg-type]


def flag_of(name: str) -> str:
    """Return how a setting is called on the command line: "--deadline-ms"."""
    return f"--{name.replace('_', '-')}"


def kind_of(hint: Any) -> Any:
    """Return the first type of an annotation that reads what a user writes: bool, int, float, str or Path."""
    if hint in _KINDS:
        return hint
    found = (kind for part in get_args(hint) if (kind := kind_of(part)) is not None)
    return next(found, None)


def reader_of(hint: Any) -> Callable[[str], Any]:
    """Return what reads a value of an annotation, if the option does not name a reader of its own."""
    kind: Callable[[str], Any] = kind_of(hint)
    return number if kind is float else kind


def _shown_default(default: Any) -> str:
    if default is None or default is False or default in ("", ()):
        return ""
    shown = " ".join(map(str, default)) if isinstance(default, tuple) else default
    return f" (default: {shown:g})" if isinstance(default, float) else f" (default: {shown})"


def read_settings(config: type[C], arguments: argparse.Namespace) -> C:
    """Return the settings that parsed arguments describe. Raises what their constructor raises."""
    return config(**{name: getattr(arguments, name) for name in config.__dataclass_fields__})  # type: ignore[attr-defined]


def add_commands(parser: argparse.ArgumentParser) -> _SubParsersAction[argparse.ArgumentParser]:
    """Return where a program's commands are added, each with `set_defaults(command=...)`.

    Gives the program `--version` as well. Without a command, `command` shows the help and returns NO_COMMAND.
    """

    def show_help(_: argparse.Namespace) -> int:
        parser.print_help()
        return NO_COMMAND

    parser.add_argument("--version", action="version", version=f"{parser.prog} {version()}")
    parser.set_defaults(command=show_help)
    return parser.add_subparsers(title="commands", metavar="COMMAND")


def add_command(
    commands: _SubParsersAction[argparse.ArgumentParser], name: str, text: str, **keywords: Any
) -> argparse.ArgumentParser:
    """Return the parser of a command; text says what it does, in the program's help and in its own."""
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", **keywords)
