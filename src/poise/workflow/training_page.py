"""The page of a training: how the network does, how it got there, and what to do with it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from poise.config.settings import RunSettings
from poise.engine.notes import notes_of
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.named import FROM_PYTHON
from poise.report.curves import panels_of
from poise.report.page import Curves, Fact, Links, Page, Pictures, Section, Status
from poise.report.pictures import chips, pictures
from poise.report.readable_numbers import words
from poise.report.summary import measured
from poise.supernet.groups import searchable
from poise.workflow.networks_inside import superseded
from poise.workflow.saved import is_own
from poise.workflow.search_page import details
from poise.workflow.sentences import (
    class_rows,
    command,
    data_name,
    measure_text,
    metric_in,
    progress,
    result_facts,
)
from poise.workflow.trained_inside import tested_in


def training_page(folder: RunFolder, settings: RunSettings, space: Any, state: Status = "finished") -> Page:
    """Everything that the folder of a training says by now.

    Args:
        folder: of the run.
        settings: that it was started with.
        space: the genotype's, or what is known of a module of your own.
        state: ``finished`` only once there is a result.

    Raises:
        Refused: a file that has to be there is missing, or damaged.
    """
    history, result, genotype = folder.history(), folder.result(), folder.genotype()
    metric = metric_in(history)
    facts = result_facts(result, settings, tested_in(folder), metric)
    if not result and history and metric is not None:
        for split in ("valid", "train"):
            value = history[-1].get(f"{split}_{metric}")
            if isinstance(value, int | float):
                facts.append(Fact(f"{split} {metric}", measure_text(f"{split}_{metric}", value, settings), "so far"))
                break
    rows = measured({name: value for name, value in result.items() if name not in ("parameters", "macs")}, history[-1:])
    facts += [Fact(name, value) for name, value in rows if name not in {fact.name for fact in facts}]
    old = superseded(folder)
    panels = panels_of(history)
    groups = searchable(space.groups)
    classes = class_rows(result, settings)
    return Page(
        title=_title(folder),
        what="training",
        sentence=_sentence(settings, result, metric, state),
        state=state,
        progress=progress(history, settings.train.epochs, state),
        facts=facts,
        warnings=[*notes_of(folder), *([old] if old else [])],
        commands=_commands(folder, settings, state),
        sections=[
            Section("Curves", [Curves(panels)] if panels else []),
            *([Section("Class by class", classes)] if classes else []),
            Section("The network", [Pictures(pictures(genotype, groups), chips(genotype, groups)), *_search(folder)]),
            details(folder, {"genotype": genotype}, history, space.describe(genotype)),
        ],
        written=time.time(),
    )


def _title(folder: RunFolder) -> str:
    path = folder.path.absolute()
    return f"{path.parent.name} / {path.name}" if _is_search(path.parent) else path.name


def _is_search(path: Any) -> bool:
    try:
        return RunFolder.kind_of(path) == "search"
    except Refused:
        return False


def _search(folder: RunFolder) -> Sequence[Links]:
    """A link to the search that the network came from, where it lies in its folder."""
    parent = folder.path.absolute().parent
    if not _is_search(parent):
        return []
    return [Links([(f"The search that found it, {parent.name}", f"{os.pardir}/report.html", "")])]


def _sentence(settings: RunSettings, result: dict[str, Any], metric: str | None, state: Status) -> str:
    what = "The network"
    data, space = data_name(settings), settings.space.name
    for split, where in (("test", "test"), ("valid", "validation")):
        value = result.get(f"{split}_{metric}")
        if isinstance(value, int | float):
            reached = f"{measure_text(f'{split}_{metric}', value, settings)} {words(str(metric))}"
            return f"{what} of space {space}, trained from scratch on {data}, reaches {reached} on the {where} split."
    doing = {"running": "is being trained", "stopped": "was being trained"}.get(state, "was trained")
    return f"{what} of space {space} {doing} from scratch on {data}."


def _commands(folder: RunFolder, settings: RunSettings, state: Status) -> list[tuple[str, str]]:
    path = folder.path
    if state == "running":
        return []
    if is_own(settings) or settings.data.source == FROM_PYTHON:
        again = "poise.train(result, data, out=..., resume=True)"
        load = f"poise.load_network({str(path)!r}{', module=module' if is_own(settings) else ''})"
        return [("Go on, in Python", again)] if state == "stopped" else [("Use it, in Python", load)]
    if state == "stopped":
        return [("Go on where it stopped", command("resume", path))]
    found = [("Measure it again", command("evaluate", path))]
    if settings.task.exports:
        found = [
            ("Predict new inputs", command("predict", path, "FILES")),
            ("Export it", command("export", path, "--to", "onnx")),
            *found,
        ]
    return found
