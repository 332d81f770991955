"""The stages of a search's curriculum, around the search itself: what a finished run's folder says of the last one, and
all of them before anything was learnt."""

from __future__ import annotations

import json

from poise.engine.run import STAGE, RunFolder
from poise.engine.searcher import Searcher
from poise.engine.stages import Stage
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.workflow.prepare import Preparation

FORMAT = {"format": "poise.stage", "version": 1}


def stage_count(prepared: Preparation) -> int:
    """How many stages the search has."""
    return len(prepared.method.curriculum.stages(prepared.settings.search.epochs))


def save_stage(output: Output, prepared: Preparation, stage: Stage) -> None:
    """Write which stage the search has ended in, if it has more than one."""
    if stage_count(prepared) > 1:
        output.write(STAGE, json.dumps(FORMAT | stage.facts, indent=1) + "\n")


def at_the_end(folder: RunFolder, prepared: Preparation) -> Preparation:
    """The preparation at the stage that the search of this folder ended in. Raises `Refused` if that cannot be read, or
    is no stage of this search."""
    if stage_count(prepared) == 1:
        return prepared
    found = folder.read_json(STAGE)
    if {name: found.get(name) for name in FORMAT} != FORMAT:
        raise Refused(f"{folder.path / STAGE} is not of a run that this poise can read")
    try:
        return prepared.at(Stage.of(found))
    except Refused as error:
        raise Refused(f"{folder.path / STAGE} is damaged: {error}") from None


def rehearsal(prepared: Preparation) -> list[Searcher]:
    """A searcher of every stage at its beginning, where each keeps the candidates that untrained alphas happen to
    favour: as large as those that will be searched."""
    searchers = [prepared.searcher()]
    stage = prepared.stage
    while len(searchers) < stage_count(prepared):
        stage = stage.next(prepared.method, searchers[-1].groups, searchers[-1].alphas)
        searchers.append(prepared.searcher(stage=stage))
    return searchers
