"""The one error that bad input raises: a single line that says what came, what was expected and the nearest valid
name."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

MOST = 20
"""Valid names that a refusal lists."""


class Refused(ValueError):
    """Input that poise does not accept. The message is one line, fit to be shown to a person as it is."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class Echoed(Refused):
    """What another of the processes that compute together refused; that one says it."""


class Lost(Refused):
    """Another of the processes that compute together has ended, or does not answer."""


def printable(message: str) -> str:
    """A message as one line that does nothing to a terminal: white space is one space, and what cannot be printed is
    written as its escape, such as ``\\x1b``."""
    line = " ".join(message.split())
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def shown(value: object, most: int = 80) -> str:
    """The start of a value as Python writes it, for a refusal; whatever the value is."""
    try:
        return repr(value)[:most]
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"


def unknown(kind: str, name: object, valid: Iterable[str]) -> Refused:
    """The refusal of a name that does not exist: ``unknown method 'dart'; did you mean 'darts'? (valid: ...)``."""
    names = sorted(valid)
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    shown = ", ".join(names[:MOST]) + (", ..." if len(names) > MOST else "")
    return Refused(f"unknown {kind} {str(name)[:80]!r}{hint} (valid: {shown or 'none'})")


class Stopped(Exception):
    """The run was asked to stop; if it has a folder it is saved there, and can go on."""

    def __init__(self, folder: Path | None) -> None:
        saved = "it was not saved anywhere" if folder is None else f"saved; to go on: poise resume {folder}"
        super().__init__(f"stopped; {saved}")
