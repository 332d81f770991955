"""Tells the trackers of a run what happens, and keeps what they need to know the run again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from poise.config.reading import leaves, read_yaml
from poise.engine.run import TRACKERS as FILE
from poise.engine.run import RunFolder
from poise.errors import Refused, Stopped
from poise.extras import how_to_install, missing
from poise.report.curves import Record, flatten
from poise.trackers.tracker import TRACKERS, Ending, Outcome, TrackedRun, Tracker

T = TypeVar("T")

ALWAYS = "tensorboard"
"""Tracks every run that is saved, where it is installed."""
CREDENTIALS = re.compile(r"//[^/\s@]+@")
SHOWN = 200
"""Characters of a tracker's error."""


class Tracking:
    """The trackers of one run. A tracker that fails is left alone from then on; the run goes on.

    How many epochs each has been told is kept in the run's folder, so that a resumed run neither repeats nor skips one,
    and a tracker that joins later is told what it missed.

    Args:
        folder: the run's.
        kind: ``search`` or ``train``.
        names: of trackers that were asked for; those that the run had before go on as well.
        note: hears where the run is tracked, and which tracker failed.
    """

    def __init__(self, folder: RunFolder, kind: str, names: Sequence[str], note: Callable[[str], None]) -> None:
        self._folder, self._kind, self._note = folder, kind, note
        kept = _kept(folder)
        new: dict[str, Any] = {"id": None, "epochs": 0, "done": False}
        self._kept = {name: kept.get(name, new.copy()) for name in dict.fromkeys((*kept, *names)) if name != ALWAYS}
        self._open: dict[str, Tracker] = {}
        self._failed: set[str] = set()

    def begin(self, history: Sequence[Record]) -> None:
        """The run goes on from here: what is not in this history has not happened."""
        if not missing(ALWAYS):
            self._opened(ALWAYS)
        for name in self._kept:
            self._opened(name)
        for name in [*self._open]:
            if not self._told(name, lambda tracker: tracker.rewind(len(history))):
                self._catch_up(name, history)

    def log(self, record: Record) -> None:
        """An epoch has ended with this record."""
        for name in [*self._open]:
            self._log(name, record)

    def finish(
        self, history: Sequence[Record], numbers: Record, facts: Mapping[str, str], network: Sequence[str] = ()
    ) -> None:
        """The run has ended well: with these final results, and where it trained a network, these files of it."""
        path = self._folder.path
        files = [*sorted((path / "figures").glob("*.*")), *(path / name for name in ("genotype.json", "config.yaml"))]
        files += sorted(path.glob("*.html"))
        left = [path / name for name in network]
        outcome = Outcome(flatten(numbers), facts, files, [file for file in left if file.is_file()])
        for name, kept in self._kept.items():
            self._opened(name)
            self._catch_up(name, history)
            self._told(name, lambda tracker: tracker.finish(outcome))
            if name in self._open:
                kept["done"] = True
                self._keep()

    def close(self, ending: Ending) -> None:
        """Let go of all trackers."""
        for name in [*self._open]:
            self._told(name, lambda tracker: tracker.close(ending))

    def _opened(self, name: str) -> None:
        kept = self._kept.get(name)
        if name in self._open or name in self._failed or (kept is not None and kept["done"]):
            return

        def open_() -> None:
            parameters = dict(leaves(read_yaml(self._folder.path / "config.yaml")))
            known = None if kept is None else kept["id"]
            self._open[name] = tracker = TRACKERS[name](TrackedRun(self._folder.path, self._kind, parameters, known))
            if kept is not None:
                kept["id"] = tracker.id
                if tracker.holds is not None:
                    kept["epochs"] = min(kept["epochs"], tracker.holds)
                self._keep()
            if tracker.where is not None:
                self._say(f"tracked by {name}: {tracker.where}")

        self._guarded(name, open_)

    def _catch_up(self, name: str, history: Sequence[Record]) -> None:
        for record in history:
            self._log(name, record)

    def _log(self, name: str, record: Record) -> None:
        kept, epoch = self._kept.get(name), record["epoch"] + 1  # people count from 1
        if kept is not None and epoch <= kept["epochs"]:
            return
        numbers = {tag: value for tag, value in flatten(record).items() if tag != "epoch"}
        self._told(name, lambda tracker: tracker.log(epoch, numbers))
        if kept is not None and name in self._open:
            kept["epochs"] = epoch
            self._keep()

    def _told(self, name: str, call: Callable[[Tracker], T]) -> T | None:
        return self._guarded(name, lambda: call(self._open[name])) if name in self._open else None

    def _guarded(self, name: str, work: Callable[[], T]) -> T | None:
        """What fails here ends the tracking by ``name``, and is said once."""
        try:
            return work()
        except Exception as error:  # each tool, and what it is built on, has its own
            self._open.pop(name, None)
            self._failed.add(name)
            reason = " ".join(str(error).split())[:SHOWN] or type(error).__name__
            self._say(f"{name} no longer tracks this run, which goes on: {reason}")
            return None

    def _say(self, text: str) -> None:
        """Notes are kept with the run and shown on its page, so that no password of a server may stand in them."""
        self._note(CREDENTIALS.sub("//", text))

    def _keep(self) -> None:
        with suppress(Refused):  # a full disk, which the run itself will say
            self._folder.write(FILE, json.dumps(self._kept, indent=2))


@contextmanager
def tracked(
    folder: RunFolder, kind: str, names: Sequence[str], note: Callable[[str], None], resumed: bool
) -> Iterator[Tracking]:
    """The tracking of a run for as long as it is worked on. See `Tracking` for the arguments."""
    if missing(ALWAYS) and not resumed:
        note(f"without TensorBoard no events are written for it; {how_to_install(ALWAYS)}")
    tracking = Tracking(folder, kind, names, note)
    ending: Ending = "failed"
    try:
        yield tracking
        ending = "finished"
    except (Stopped, KeyboardInterrupt):
        ending = "stopped"
        raise
    finally:
        tracking.close(ending)


def _kept(folder: RunFolder) -> dict[str, dict[str, Any]]:
    """What the run's folder says of its trackers; what is no such thing is left out."""
    found = folder.read_json(FILE) if folder.holding(FILE) else {}
    return {name: value for name, value in found.items() if name in TRACKERS and _sound(value)}


def _sound(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str | None)
        and type(value.get("epochs")) is int
        and type(value.get("done")) is bool
    )
