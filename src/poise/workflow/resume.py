"""Go on with a run that was stopped, whatever it was doing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from poise.engine.checkpointer import RunControl
from poise.engine.events import Listener
from poise.engine.joining import joined
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.report.progress import progress
from poise.tasks.task import Task, Trained
from poise.trackers.tracker import check_trackers
from poise.workflow.context import RunContext
from poise.workflow.retrain import train_as
from poise.workflow.saved import settings_of, with_own
from poise.workflow.search import SearchResult
from poise.workflow.search import run as run_search
from poise.workflow.select import Selected, pending, resume_selection


def resume(
    run: str | Path,
    *,
    data: Any = None,
    module: nn.Module | None = None,
    task: Task | None = None,
    track: Sequence[str] = (),
    listen: Listener | None = None,
    control: RunControl = RunControl(),
) -> SearchResult | Trained | Selected:
    """Go on with the search, the selection or the training in a folder, from its last checkpoint, as if nothing had
    happened.

    On a CPU everything ends bit-identical to a run that was never stopped, seconds aside. A finished run is returned as
    it is.

    Args:
        run: the folder.
        data: where the data is now, if it has moved or came from Python.
        module, task: for a run of a module or a task of your own: these, as they were given to `poise.search`.
        track: more trackers, as in `poise.search`; those that the run has go on without being named.
        listen: as in `poise.search`.
        control: how often the run is saved, and whether it was asked to stop.

    Raises:
        Refused: there is no run, another process works on it, or all its checkpoints are damaged.
        Stopped: ``control`` asked for it; the run is saved.
    """
    check_trackers(track)
    path = Path(run)
    kind = RunFolder.kind_of(path)
    if kind is None:
        raise Refused(f"there is no run at {path}")
    folder = RunFolder.open(path, kind)
    settings = settings_of(folder)
    settings = with_own(folder, settings, module, task, "resume")
    if data is None and settings.data.source == "python":
        raise Refused(f"{path} had its data from Python; pass it again: poise.resume({str(path)!r}, data=...)")
    with progress(listen) as hear, joined() as processes:
        context = RunContext(path, resume=True, listen=hear, control=control, track=tuple(track))
        if kind == "search" and pending(folder) is not None:
            if track:
                raise Refused(f"a selection is not tracked; resume the one in {path} without track")
            if not processes.alone:
                raise Refused(f"the selection in {path} goes on in one process, got {processes.count}")
            return resume_selection(folder, data, module, task, hear, control)
        if kind == "search":
            return run_search(settings, context, data=data)
        return train_as(folder.genotype(), settings, data, context)
