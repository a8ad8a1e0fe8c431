"""The documents: every command line is understood, every link and file is there, every Python example is run by a test.

Commands are parsed, not run: `...` stands for options that were said before. Python examples are run by the tests that
`RUN_BY` names, since each needs a folder, a server or weights of its own.
"""

from __future__ import annotations

import argparse
import configparser
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import benchmarks.__main__
import cloud_server.__main__
import demo.__main__
import demo.clip
import edge_client.__main__
import examples.features
import examples.one_process
import tests.fuzzing.__main__
import training.__main__
from edge_client.console import Console
from tests.conftest import PROJECT
from tests.fuzzing.targets import all_targets

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("bundles/*/README.md")])
IDS = [str(page.relative_to(PROJECT)) for page in PAGES]
LANGUAGES = {"sh", "python", "text", "json", "ini", "proto", "toml", "yaml"}
PROGRAMS = {
    "edge-client": lambda: edge_client.__main__._parser(Console()),
    "cloud-server": cloud_server.__main__._parser,
    "python -m training": training.__main__._parser,
    "python -m benchmarks": benchmarks.__main__._parser,
    "python -m demo": demo.__main__._parser,
    "python -m demo.clip": demo.clip._parser,
    "python -m examples.one_process": examples.one_process._parser,
    "python -m examples.features": examples.features._parser,
    "python -m tests.fuzzing": lambda: tests.fuzzing.__main__._parser(list(all_targets(Path()))),
}
FOREIGN = {
    ".",
    "cd",
    "curl",
    "docker",
    "git",
    "ray",
    "journalctl",
    "kubectl",
    "libcamerify",
    "python",
    "python3",
    "rsync",
    "ssh",
    "sudo",
    "systemctl",
    "systemd-analyze",
    "tensorboard",
}  # not ours to check
OURS = "benchmarks|bundles|cloud_server|demo|docs|edge_client|examples|protos|splitnet|tests|training"
RUN_BY = {  # which test runs the Python of a page
    "docs/cameras.md": "tests/edge_client/test_front_door.py",
    "docs/own-detector.md": "tests/end_to_end/test_own_detector_guide.py",
    "docs/protocol.md": "tests/end_to_end/test_foreign_client.py",
    "docs/split-points.md": "tests/training/test_split_points_example.py",
}
FENCE = re.compile(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")

Words = list[str]


def prose(text: str) -> str:
    """Return a page without its blocks of code."""
    return FENCE.sub("", text)


def commands(block: str) -> Iterator[Words]:
    """Yield the words of every command in a block of shell, without what it is piped into."""
    block = re.sub(r"<<'(\w+)'.*?^\1$", "", block.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines():
        for command in re.split(r"\s(?:&&|;|\|)\s", line.partition(" #")[0]):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"\w+=\S*", words[0]):  # variables for this command alone
                words = words[1:]
            if words:
                yield words


def program_of(words: Words) -> tuple[str, Words] | None:
    """Return which of our programs a command starts, and with what arguments; None if it is not one of ours."""
    if words[0] in ("torchrun", "libcamerify") and len(words) > 1:
        words = ["python", "-m", *words[words.index("--") + 1 :]] if "--" in words else words[1:]
    name, arguments = words[0], words[1:]
    if words[:2] == ["python", "-m"]:
        name, arguments = " ".join(words[:3]), words[3:]
        assert name in PROGRAMS, f"{name} is no program of ours"
    return (name, arguments) if name in PROGRAMS else None


def parsers(name: str) -> list[argparse.ArgumentParser]:
    """Return a program's parser, and those of its commands, and of theirs."""
    return with_commands(PROGRAMS[name]())


def with_commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return a parser and those of its commands, and of theirs."""
    nested = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [
        parser,
        *(one for action in nested for command in action.choices.values() for one in with_commands(command)),
    ]


def parse(name: str, arguments: Words) -> None:
    """Parse a command line as its program would. `...` stands for whatever is required."""
    every = parsers(name)
    if "..." in arguments:
        for action in (action for parser in every for action in parser._actions if action.option_strings):
            action.required = False
    every[0].parse_args([word for word in arguments if word != "..."])


def targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))


def extras() -> set[str]:
    setup = configparser.ConfigParser(interpolation=None)
    setup.read(PROJECT / "setup.cfg")
    return set(setup["options.extras_require"])


def check_installed(words: Words) -> None:
    """Check the extras and the constraints that a line of pip names."""
    for word in words:
        if match := re.search(r"\[([\w,]+)\]", word):
            assert set(match[1].split(",")) <= extras()
    if "--constraint" in words:
        assert (PROJECT / words[words.index("--constraint") + 1]).is_file()


def check(words: Words) -> None:
    """Check a command: its options if it is ours, its target or extras if it is make or pip."""
    if (found := program_of(words)) is not None:
        try:
            parse(*found)
        except SystemExit as ended:
            assert ended.code in (0, None), f"{shlex.join(words)} is not understood"
    elif words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= targets()
    elif words[0] == "pip":
        check_installed(words)
    else:
        assert words[0] in FOREIGN, f"{words[0]} is not a program that this test knows"


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_is_understood(page):
    text = page.read_text("utf-8")
    for language, block in FENCE.findall(text):
        assert language in LANGUAGES, f"a block of {language or 'no language'}: {block.splitlines()[0]}"
        if language == "sh":
            for words in commands(block):
                check(words)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_command_in_a_sentence_is_understood(page):
    for code in CODE.findall(prose(page.read_text("utf-8"))):
        words = shlex.split(code) if code.count("'") % 2 == 0 else []
        if words[:1] == ["make"]:
            check(words)
        elif words and (found := program_of(words)) is not None and found[1]:
            check([*words, "..."])


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_option_in_a_sentence_exists(page):
    known = {option for name in PROGRAMS for parser in parsers(name) for option in parser._option_string_actions}
    sentences = [code for code in CODE.findall(prose(page.read_text("utf-8"))) if code.split()[0] not in FOREIGN]
    assert {word for code in sentences for word in re.findall(r"(?<!\w)--[a-z][\w-]+", code)} <= known


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_file_that_is_named_is_there(page):
    text = page.read_text("utf-8")
    made = set(re.findall(r"--(?:bundle|out|run)[= ](\S+)", "".join(each.read_text("utf-8") for each in PAGES)))
    for path in re.findall(rf"(?<![\w/.-])(?:{OURS})/[\w./-]*\w", text):
        stands_for_any = any(part.isupper() for part in path.split("/"))
        assert stands_for_any or (PROJECT / path).exists() or path in made, path
    present = {path.name for package in OURS.split("|") for path in (PROJECT / package).rglob("*.py")}
    assert {name for code in CODE.findall(prose(text)) for name in re.findall(r"\b\w+\.py\b", code)} <= present


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(prose(page.read_text("utf-8"))):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_in_the_index():
    index = (PROJECT / "docs" / "README.md").read_text("utf-8")
    assert {page.name for page in PROJECT.glob("docs/*.md")} - {"README.md"} <= set(LINK.findall(index))


def test_every_room_has_its_purpose_in_the_design():
    table = (PROJECT / "docs" / "design.md").read_text("utf-8")
    packages = [
        path.parent.relative_to(PROJECT) for top in OURS.split("|") for path in PROJECT.glob(f"{top}/**/__init__.py")
    ]
    rooms = {f"`{package}/`" for package in packages if package.parts[0] != "tests"}
    assert {room for room in rooms if room not in table} == set()


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_python_example_is_run_by_a_test(page):
    languages = [language for language, _ in FENCE.findall(page.read_text("utf-8"))]
    name = str(page.relative_to(PROJECT))
    assert ("python" in languages) == (name in RUN_BY)
    if name in RUN_BY:
        runner = (PROJECT / RUN_BY[name]).read_text()
        assert "exec(" in runner or "exec," in runner
