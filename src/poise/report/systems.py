"""Every paper's cure on every base and every space: the command that runs it, or why it makes no sense.

A base is a preset that says what the supernet is and how the alphas learn; a cure is a preset whose slots, where they
differ from plain DARTS's, take the base's place. So nothing here is a list of what works: the slots are asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from poise.config.reading import parse_override
from poise.config.resolve import resolve
from poise.engine.stages import first_of
from poise.errors import Refused
from poise.methods.method import Method
from poise.methods.preset import METHODS
from poise.methods.slots import SLOTS
from poise.spaces.space import SPACES

BASES = ("darts", "darts-2nd", "pc-darts", "p-darts")
PLAIN = "darts"
CURES = (PLAIN, "fair-darts", "sdarts-rs", "sdarts-adv", "lambda-darts", "darts-pt")
"""`PLAIN` is the base without a cure."""


@dataclass(frozen=True)
class System:
    """One cure on one base.

    Args:
        base, cure: names of presets.
        overrides: what the cure changes, as one would write it after ``--set``.
    """

    base: str
    cure: str
    overrides: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command line, but for data and space."""
        quoted = (shlex.quote(text) for text in self.overrides)
        return " ".join(["poise search --method", self.base, *(f"--set {text}" for text in quoted)])

    def refusal(self, space: str) -> str | None:
        """Why it does not run on the space; None if it does. As a search finds out, before it reads any data."""
        given = [parse_override(text) for text in self.overrides]
        try:
            settings = resolve(space=space, method=self.base, preset="small", overrides=given)
            first_of(settings.space, settings.method, settings.search.epochs)
        except Refused as refused:
            return str(refused)
        return None


def systems() -> Iterator[System]:
    """All of them, base by base."""
    for base in BASES:
        if base in METHODS:
            for cure in CURES:
                yield System(base, cure, _changes(METHODS[cure].build()))


def _changes(method: Method) -> tuple[str, ...]:
    """How a method differs from plain DARTS."""
    plain = Method()
    found = []
    for slot in SLOTS:
        value = getattr(method, slot)
        if type(value) is not type(getattr(plain, slot)):
            found.append(f"{slot}={value.kind}")
        found += [
            f"{slot}.{field.name}={getattr(value, field.name)}"
            for field in fields(value)
            if getattr(value, field.name) != field.default
        ]
    if method.without:
        found.append(f"without=[{', '.join(method.without)}]")
    return tuple(found)


@dataclass(frozen=True)
class Matrix:
    """What runs where.

    Args:
        marks: (base, cure, space) -> ``✓``, or the number of the reason why not, in parentheses.
        reasons: number ``n`` is the n-th.
    """

    marks: Mapping[tuple[str, str, str], str]
    reasons: Sequence[str]

    @staticmethod
    def of(spaces: Sequence[str]) -> Matrix:
        """Ask the slots of every system on these spaces."""
        marks, reasons = {}, list[str]()
        for system in systems():
            for space in spaces:
                reason = system.refusal(space)
                if reason is not None:  # the same reason for several spaces is one
                    reason = reason.replace(f"space {space!r}", "the space")
                if reason is not None and reason not in reasons:
                    reasons.append(reason)
                mark = "✓" if reason is None else f"({reasons.index(reason) + 1})"
                marks[system.base, system.cure, space] = mark
        return Matrix(marks, reasons)

    def rows(self, base: str, spaces: Sequence[str]) -> list[list[str]]:
        """A row per space: its name, and the mark of every cure on this base."""
        return [[space, *(self.marks[base, cure, space] for cure in CURES)] for space in spaces]


def bases() -> list[str]:
    """Those that exist."""
    return list(dict.fromkeys(system.base for system in systems()))


def systems_table() -> RenderableType:
    """For the terminal: what runs where, the reasons, the commands."""
    spaces = list(SPACES)
    found = Matrix.of(spaces)
    parts: list[RenderableType] = []
    for base in bases():
        marks = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=f"base {base}", title_justify="left")
        marks.add_column("space", no_wrap=True, min_width=max(map(len, spaces)))
        for cure in CURES:
            marks.add_column("no cure" if cure == PLAIN else cure, overflow="fold")
        for row in found.rows(base, spaces):
            marks.add_row(*row)
        parts.append(marks)
    parts += [Text(f"({number}) {reason}") for number, reason in enumerate(found.reasons, start=1)]
    commands = Table("base", "cure", "command, with --data and --space", box=box.SIMPLE_HEAD, pad_edge=False)
    for system in systems():
        commands.add_row(*map(Text, (system.base, "" if system.cure == PLAIN else system.cure, system.command)))
    return Group(*parts, commands)
