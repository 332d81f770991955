"""What a run told the person who waited, kept for whoever looks later."""

from __future__ import annotations

import json

from poise.engine.events import Event, Listener, Noted
from poise.engine.run import NOTES
from poise.engine.unsaved import Output
from poise.errors import Refused


def noting(output: Output, about: str, listen: Listener) -> Listener:
    """A listener that also keeps every note, as one ``about`` this part of the run. What was noted of it before is
    forgotten: the part begins."""
    if output.path is not None:
        _write(output, [note for note in _read(output) if note["about"] != about])

    def hear(event: Event) -> None:
        listen(event)
        if isinstance(event, Noted):
            note(output, about, event.message)

    return hear


def note(output: Output, about: str, text: str) -> None:
    """Keep a note, once."""
    if output.path is None:
        return
    found, new = _read(output), {"about": about, "text": text}
    if new not in found:
        _write(output, [*found, new])


def notes_of(output: Output) -> list[str]:
    """What was noted, in that order; nothing where it cannot be read."""
    return [note["text"] for note in _read(output)]


def _read(output: Output) -> list[dict[str, str]]:
    folder = output.holding(NOTES)
    try:
        found = [] if folder is None else folder.read_json(NOTES)["notes"]
        return [{"about": str(each["about"]), "text": str(each["text"])} for each in found]
    except (Refused, KeyError, TypeError):
        return []


def _write(output: Output, notes: list[dict[str, str]]) -> None:
    if notes or output.holding(NOTES):
        output.write(NOTES, json.dumps({"format": "poise.notes", "version": 1, "notes": notes}, indent=1) + "\n")
