"""Where the command line prints."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

console = Console()


def say(text: str) -> None:
    """One line, as it is: no markup, no breaks."""
    console.print(escape(text), highlight=False, soft_wrap=True)
