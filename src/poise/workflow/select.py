"""Select a genotype from any saved supernet, with any rule."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.settings import RunSettings
from poise.data import source_name
from poise.engine.checkpoint import NOWHERE, State
from poise.engine.checkpointer import Checkpointer, RunControl
from poise.engine.events import Listener, Noted
from poise.engine.lock import locked
from poise.engine.run import SELECTION as REQUEST
from poise.engine.run import RunFolder
from poise.engine.searcher import Searcher
from poise.errors import Refused, unknown
from poise.genotype import Genotype
from poise.report.progress import progress
from poise.report.summary import Summarised, Summary, cells
from poise.selection.rule import SELECTIONS, measures
from poise.tasks.task import Task
from poise.workflow.prepare import Preparation
from poise.workflow.saved import is_own, settings_of, with_own
from poise.workflow.saved_supernet import load_alphas, load_supernet
from poise.workflow.search import conclude
from poise.workflow.stages import at_the_end


@dataclass(frozen=True, repr=False)
class Selected(Summarised):
    """A genotype, and the files that hold it; printed, a summary of it."""

    genotype: Genotype
    files: tuple[Path, ...]
    settings: RunSettings

    def summary(self) -> Summary:
        """The genotype, its files, and what to do next."""
        own = is_own(self.settings)
        space = None if own else self.settings.space
        rows = [
            ("genotype", self.settings.space.describe(self.genotype)),
            ("files", ", ".join(map(str, self.files))),
            ("next", f"poise.train({str(self.files[0].parent)!r}{', module=module' if own else ''})"),
        ]
        title = f"Selected on {self.genotype.space} by {self.settings.method.selection.kind}"
        return Summary(title, rows, None if space is None else cells(self.genotype, space.groups))


def select(
    run: str | Path,
    rule: str | None = None,
    *,
    data: Any = None,
    module: nn.Module | None = None,
    task: Task | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    listen: Listener | None = None,
    control: RunControl = RunControl(),
) -> Selected:
    """Select a genotype from the supernet of a saved run, whatever method trained it.

    It becomes the run's current genotype; the earlier one stays in ``genotype-<rule>.json``. A selection that was
    stopped goes on if the same one is asked for again, or with `poise.resume`; asking for another one gives it up.

    Args:
        run: the run's folder.
        rule: ``magnitude``, ``threshold``, ``perturbation``; None: the method's own.
        data: where the data is now, if it has moved. Rules that go by the alphas alone read none.
        module, task: for a run of a module or a task of your own: these, as they were given to `poise.search`.
        settings: dotted overrides, such as ``{"selection.tune_epochs": 1}``.
        device: to compute on.
        listen: as in `poise.search`.
        control: how often the selection is saved, and whether it was asked to stop.

    Raises:
        Refused: bad input, before anything is written, or another process works on the run.
        Stopped: ``control`` asked for it; the selection is saved.
    """
    folder = RunFolder.open(Path(run), "search")
    overrides = list((settings or {}).items())
    for name, _ in overrides:
        if name.removeprefix("method.").split(".")[0] not in ("selection", "search", "data", "seed", "precision"):
            raise Refused(
                f"{name} was settled when the supernet was trained; selecting reads selection, search and data"
            )
    if rule is not None:
        if rule not in SELECTIONS:
            raise unknown("selection", rule, SELECTIONS)
        if rule != settings_of(folder, []).method.selection.kind:  # the run's own rule keeps its settings
            overrides.insert(0, ("selection", rule))
    found = settings_of(folder, overrides, device)
    found = with_own(folder, found, module, task, "select")
    prepared = at_the_end(folder, Preparation.of(found, data, folder))
    alphas = load_alphas(folder, prepared.groups)

    @cache
    def searcher() -> Searcher:
        opened = prepared.searcher()
        load_supernet(folder, opened)
        return opened

    if measures(prepared.method.selection):
        searcher()  # what is wrong with the data or the weights is said before anything is written
    _ = prepared.aim  # nor is a target that cannot be met
    request = {
        "settings": [(name, _anywhere(name, value)) for name, value in overrides],
        "data": source_name(data) if isinstance(data, (str, Path)) else None,
        "device": device,
    }
    with locked(folder.path), progress(listen) as hear:
        saver = Checkpointer(folder.selecting, _begin(folder, request, hear), control)
        genotype, _, _ = conclude(folder, prepared, alphas, searcher, folder.history(), hear, saver)
        folder.selecting.clear()
        (folder.path / REQUEST).unlink()
    files = (folder.path / "genotype.json", folder.path / f"genotype-{prepared.method.selection.kind}.json")
    return Selected(genotype, files, found)


def _anywhere(name: str, value: Any) -> Any:
    """The value of an override as it means the same in every folder."""
    if isinstance(value, (str, Path)) and name == "data.source":
        return source_name(value)
    path = isinstance(value, (str, Path)) and (name == "data.split_file" or name == "search.target.table")
    return str(Path(value).absolute()) if path else value


def _begin(folder: RunFolder, request: Mapping[str, Any], listen: Listener) -> State:
    """Where a selection starts: where the same one was stopped, or at its beginning."""
    text = json.dumps(request, default=str)
    if pending(folder) == json.loads(text):
        start = folder.selecting.load(lambda message: listen(Noted(message))) or NOWHERE
        listen(Noted("going on with the selection that was stopped"))
        return start
    folder.selecting.clear()
    folder.write(REQUEST, text)
    return NOWHERE


def pending(folder: RunFolder) -> dict[str, Any] | None:
    """What the selection that was stopped in this folder was asked; None if there is none."""
    return folder.read_json(REQUEST) if (folder.path / REQUEST).is_file() else None


def resume_selection(
    folder: RunFolder, data: Any, module: nn.Module | None, task: Task | None, listen: Listener, control: RunControl
) -> Selected:
    """Go on with the selection that was stopped in this folder."""
    request = folder.read_json(REQUEST)
    try:
        settings = {str(name): value for name, value in request["settings"]}
        where = request["data"] if data is None else data
        device = request["device"]
    except (KeyError, TypeError, ValueError):
        raise Refused(f"{folder.path / REQUEST} is damaged: it does not describe a selection") from None
    return select(
        folder.path,
        data=where,
        module=module,
        task=task,
        settings=settings,
        device=device,
        listen=listen,
        control=control,
    )
