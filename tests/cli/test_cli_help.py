"""What the command line says of itself, at the widths of real terminals."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer

from conftest import Poise
from poise.cli.main import app
from poise.cli.options import HELP_NAMES


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from commands(inner, (*words, name))


COMMANDS = dict(commands(typer.main.get_command(app)))
GROUPS = [words for words, command in COMMANDS.items() if hasattr(command, "commands")]
LEAVES = [words for words in COMMANDS if words not in GROUPS]


@pytest.mark.parametrize("words", GROUPS, ids=" ".join)
def test_a_bare_group_shows_its_help_which_is_no_error(poise: Poise, words: tuple[str, ...]) -> None:
    bare = poise(*words)
    assert (bare.code, bare.err) == (0, "")
    assert bare.out == poise(*words, "--help").out
    assert bare.out.count("\n") > 10


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_help_fits_and_says_what_things_are(
    poise: Poise, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = poise(*words, "-h")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == poise(*words, "--help").out
    lines = shown.out.splitlines()
    assert max(map(len, lines)) <= width
    assert not re.search(r"--.*<(bool|str|int|float|path|list)|\bTEXT\b|\bINTEGER\b|\bFLOAT\b", shown.out)
    cut = [line for line in lines if re.match(r"│\W+--\S*…", line) and "--no-" not in line]
    assert not cut, "an option's name is cut off"
    command = COMMANDS[words]
    context = command.context_class(command, **HELP_NAMES)
    assert all(parameter.help for parameter in command.get_params(context))
    examples = command.epilog.split("Examples:")[1].splitlines()
    for example in filter(None, examples):
        assert f" {example}" in [line.rstrip() for line in lines], "an example is broken over lines"


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_example_is_a_command_with_options_that_exist(words: tuple[str, ...]) -> None:
    text = COMMANDS[words].epilog.replace("\\\n", "")
    examples = [line.split() for line in text.splitlines() if line.strip().startswith("poise ")]
    assert any(tuple(example[1 : 1 + len(words)]) == words for example in examples)
    for example in examples:
        depth = 2 if tuple(example[1:3]) in COMMANDS else 1
        command = COMMANDS[tuple(example[1 : 1 + depth])]
        context = command.make_context("poise", example[1 + depth :])  # refuses what it does not know
        assert context.params or not command.params


def test_help_is_in_groups(poise: Poise) -> None:
    shown = poise().out
    panels = re.findall(r"╭─ ([\w ]+) ─", shown)
    assert panels == ["Options", "Search", "Networks", "Look", "Measure and compare"]
    assert re.findall(r"╭─ ([\w ]+) ─", poise("search", "-h").out)[1:] == [
        "Settings",
        "Runs",
        "Cost target",
        "Many runs",
        "Check first",
    ]
    assert re.findall(r"╭─ ([\w ]+) ─", poise("bench", "run", "-h").out)[1:] == ["Many runs", "Settings"]


def test_version(poise: Poise) -> None:
    assert poise("--version").out == f"poise {version('poise')}\n"


def test_the_shell_completes_commands_and_options() -> None:
    environment = os.environ | {"_POISE_COMPLETE": "complete_bash", "COMP_WORDS": "poise sea", "COMP_CWORD": "1"}
    words = [sys.executable, "-m", "poise"]
    found = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert found.stdout.split() == ["search"]
    environment |= {"COMP_WORDS": "poise search --lat", "COMP_CWORD": "2"}
    found = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert found.stdout.split() == ["--latency-table"]
