"""Where the command line prints, and how much: ``-q`` and ``-v`` of every command that takes long."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import Parameter, signature
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text

from poise.errors import Refused

if TYPE_CHECKING:
    from poise.engine.run import RunFolder
    from poise.report.progress import Reporter

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what matters: notes, and the last line.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show everything: whole lines, all rows, all files.")]


class Terminal(Console):
    """Standard output, with what the person who looks wants to see."""

    terse = full = False

    @contextmanager
    def telling(self, quiet: bool, verbose: bool) -> Iterator[None]:
        """Less, or more, until the command ends."""
        if quiet and verbose:
            raise Refused("-q and -v do not go together")
        before = self.terse, self.full
        self.terse, self.full = quiet, verbose
        try:
            yield
        finally:
            self.terse, self.full = before


console = Terminal()


def say(text: str) -> None:
    """One line, as it is: no markup, no breaks."""
    console.print(escape(text), highlight=False, soft_wrap=True)


def show_table(shown: RenderableType) -> None:
    """What ``-q`` leaves out."""
    if not console.terse:
        console.print(shown)


def say_files(folder: RunFolder) -> None:
    """Where a run's page is, which some terminals open from there; with ``-v`` its figures, too."""
    from poise.workflow.show import pages, pictures

    if not console.terse:
        for kind, files in {"page": pages(folder), "see": pictures(folder) if console.full else []}.items():
            for file in files:
                console.print(Text(f"{kind} {file}", style=f"link {file.resolve().as_uri()}"), soft_wrap=True)


def reporter(opening: str = "") -> Reporter:
    """Shows progress on standard output."""
    from poise.report.progress import Reporter

    return Reporter(console, opening, terse=console.terse, full=console.full)


def telling(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command with ``-q`` and ``-v``."""

    @wraps(command)
    def run(*, quiet: bool, verbose: bool, **given: Any) -> Any:
        with console.telling(quiet, verbose):
            return command(**given)

    of, hints = signature(command), get_type_hints(command, include_extras=True)
    own = [each.replace(annotation=hints[each.name]) for each in of.parameters.values()]
    own += [
        Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in {"quiet": Quiet, "verbose": Verbose}.items()
    ]
    run.__signature__ = of.replace(parameters=own)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in own}
    return run
