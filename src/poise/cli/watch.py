"""``poise watch``: a folder of runs in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poise.cli.console import say

PORT = 8765


def watch(
    runs: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of runs.")] = Path("runs"),
    port: Annotated[
        int, typer.Option(metavar="NUMBER", min=0, max=65535, help="Of this machine; 0: any that is free.")
    ] = PORT,
) -> None:
    """Show a folder of runs in a browser of this machine, while they go on: a list, their pages, comparisons."""
    from poise.watch.server import Server

    with Server(runs, port) as server:
        say(f"{runs} is shown at {server.url} (end with Ctrl-C)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")
