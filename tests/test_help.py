"""Every command of every program says what it does, in help texts that can be printed."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib import import_module

import pytest

PROGRAMS = {
    "edge_client.__main__": "main",
    "cloud_server.__main__": "main",
    "training.__main__": "main",
    "benchmarks.__main__": "main",
    "demo.__main__": "main",
}


def parser_of(module: str) -> argparse.ArgumentParser:
    """Return the parser that a program would use, caught where it begins to parse."""
    found: list[argparse.ArgumentParser] = []

    def caught(self: argparse.ArgumentParser, *_: object) -> None:
        found.append(self)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", caught)
        with pytest.raises(SystemExit):
            import_module(module).main([])
    return found[0]


def commands_of(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of all commands below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from commands_of(command)


@pytest.mark.parametrize("module", PROGRAMS)
def test_every_command_has_help_for_itself_and_for_every_option(module):
    for parser in commands_of(parser_of(module)):
        assert parser.prog in parser.format_help()
        assert parser.description, f"{parser.prog} does not say what it does"
        for action in parser._actions:
            is_option = not isinstance(action, argparse._SubParsersAction)
            assert action.help or not is_option, f"{parser.prog} {action.option_strings} does not say what it does"


@pytest.mark.parametrize("module", PROGRAMS)
def test_no_default_is_shown_twice(module):
    for parser in commands_of(parser_of(module)):
        for action in parser._actions:
            assert (action.help or "").count("(default") <= 1, f"{parser.prog} {action.option_strings}"


@pytest.mark.parametrize("module", PROGRAMS)
def test_every_program_tells_its_version(module, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(module).main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.split()[-1][0].isdigit()
