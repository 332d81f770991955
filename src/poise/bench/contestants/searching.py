"""The contestant that every method is: search, then let each rule choose from the same supernet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from poise.bench.job import CONTESTANTS, Job
from poise.bench.result import Result, compact
from poise.bench.stopwatch import Stopwatch
from poise.config.resolve import override
from poise.engine.checkpoint import write_durably
from poise.engine.checkpointer import RunControl
from poise.engine.events import Event, Listener, ignore
from poise.engine.objective import CLASSES
from poise.engine.run import RunFolder
from poise.engine.searcher import Searcher
from poise.engine.streams import seed_of, stream
from poise.genotype import Genotype
from poise.named import OWN
from poise.selection.magnitude import Magnitude
from poise.selection.rule import SELECTIONS, measures
from poise.spaces.space import Shape, genotype_of, holds, kept_of
from poise.supernet.groups import ChoiceGroup, one_hot
from poise.workflow.context import RunContext
from poise.workflow.plan import dry_run
from poise.workflow.prepare import Preparation
from poise.workflow.search import SearchResult, choose
from poise.workflow.search import run as run_search
from poise.workflow.select import select
from poise.workflow.stages import at_the_end


class MethodContestant:
    """A search with a method of poise."""

    selections = True

    def run(self, job: Job, listen: Listener, control: RunControl) -> list[Result]:
        """Search, rank random architectures with the supernet, and apply every rule."""
        settings = job.settings(job.name)
        own = settings.method.selection.kind
        rules = {rule: own if rule == OWN else rule for rule in job.selections}
        # The search itself chooses in the cheapest way; the rules come after it. A rule of the method's own that costs
        # nothing is cheap enough, and keeps the settings that the method gives it.
        if measures(SELECTIONS[own]):
            trained = settings.method.trains_alphas(settings.search.epochs)
            cheap = [("selection", "magnitude")] if trained else [("selection", own), ("selection.tune_epochs", 0)]
            settings = override(settings, cheap)
        folder = job.folder / "search"
        found = run_search(settings, RunContext(folder, resume=True, listen=listen, control=control))
        ranking = _ranking(job, found)
        searched = sum(float(record["seconds"]) for record in found.history)
        prepared = Preparation.of(found.settings)
        results = []
        for label, rule in rules.items():
            genotype, seconds = _selected(job, rule, listen, control)
            epochs = [] if measures(SELECTIONS[rule]) else _epochs(prepared, rule, found.history)
            spent = {"search": searched, "selection": seconds}
            results.append(Result(job.contestant, label, job.seed, genotype, spent, epochs, (), ranking))
        return results

    def seconds(self, job: Job) -> float:
        """The search, and the tuning of a selection by perturbation."""
        settings = job.settings(job.name)
        plan = dry_run(settings, steps=2)
        rows = max(len(group.rows) for group in settings.space.groups)
        tuned = int(job.protocol.selections.get("perturbation", {}).get("selection.tune_epochs", 5))
        extra = rows * tuned / settings.search.epochs if "perturbation" in job.selections else 0
        return plan.seconds * (1 + extra)


CONTESTANTS.add("search")(MethodContestant())


def _selected(job: Job, rule: str, listen: Listener, control: RunControl) -> tuple[Genotype, float]:
    """What the rule chooses, and how long it took. The method's own one, if it measures nothing, has its settings."""
    run, watcher = RunFolder(job.folder / "search"), Stopwatch(job.folder / f"seconds-{rule}")
    done = job.folder / f"selected-{rule}.json"
    if done.is_file():
        return Genotype.parse(done.read_text(encoding="utf-8")), watcher.seconds

    def hear(event: Event) -> None:
        watcher(event)
        listen(event)

    chosen = job.settings(job.name).method.selection.kind
    own = rule == chosen and not measures(SELECTIONS[rule])
    with watcher:
        found = select(
            run.path, None if own else rule, settings=job.protocol.selections.get(rule), listen=hear, control=control
        )
    write_durably(done, found.genotype.to_json().encode("utf-8"))
    return found.genotype, watcher.seconds


def _epochs(prepared: Preparation, rule: str, history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every epoch's record, and what the rule would have taken then, had the search been in its last stage."""

    def nothing() -> NoReturn:
        raise AssertionError("a rule that reads alphas alone asked for a supernet")

    if rule != prepared.settings.method.selection.kind:
        settings = override(prepared.settings, [("selection", rule)])
        prepared = replace(prepared, settings=settings, method=settings.method)
    found: list[dict[str, Any]] = []
    own: list[Mapping[str, Any]] = []
    for record in history:
        if own and record.get("stage") != own[-1].get("stage"):
            alphas = prepared.method.outcome(own)
            prepared, own = prepared.at(prepared.stage.next(prepared.method, prepared.groups, alphas)), []
        own.append(record)
        genotype = choose(prepared, prepared.method.outcome(own), nothing, ignore)
        known = {name: value for name, value in record.items() if name != "alphas"}
        found.append(known | {"genotype": compact(genotype)})
    return found


def random_genotype(space: str, groups: Sequence[ChoiceGroup], generator: torch.Generator) -> Genotype:
    """An architecture of random alphas: where rows are choices of their own, every architecture is equally likely."""

    class Uniform:
        def __init__(self) -> None:
            self.groups = tuple(groups)

        def probabilities(self) -> Mapping[str, Tensor]:
            return {group.name: torch.rand(group.shape, generator=generator) for group in groups}

    trained: Any = Uniform()
    return genotype_of(space, Magnitude()(trained), groups)


def network_of(prepared: Preparation, genotype: Genotype, shape: Shape) -> nn.Module:
    """The network of an architecture, of the supernet's size."""
    space = prepared.settings.space
    channels, cells = getattr(space, "channels", None), getattr(space, "cells", None)
    return prepared.space.network(genotype, shape, channels=channels, cells=cells)


def _ranking(job: Job, found: SearchResult) -> list[list[Any]]:
    """Random architectures, the same for every contestant, as the supernet ranks them; those with candidates that the
    search has dropped before its last stage are left out."""
    path = job.folder / "ranking.json"
    if path.is_file():
        kept: list[list[Any]] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    prepared = Preparation.of(found.settings)
    last = at_the_end(RunFolder(job.folder / "search"), prepared)
    searcher = last.searcher(dict(found.alphas), found.supernet.state_dict())
    ranked = []
    for number in range(job.protocol.ranked_cells):
        generator = stream(0, "ranked", number)
        genotype = random_genotype(found.space.name, prepared.groups, generator)
        if holds(last.groups, genotype):
            ranked.append([compact(genotype), *_score(searcher, genotype, job.protocol.ranked_batches)])
    write_durably(path, json.dumps(ranked).encode("utf-8"))
    return ranked


@torch.no_grad()
def _score(searcher: Searcher, genotype: Genotype, batches: int) -> tuple[float, float]:
    """Accuracy and loss of an architecture in the supernet, on the first batches of the search half, with batch
    statistics."""
    mixture = one_hot(kept_of(genotype, searcher.groups), searcher.groups, next(iter(searcher.alphas.values())))
    correct, total, images = 0.0, 0.0, 0
    for number, (batch, labels) in enumerate(islice(searcher.searching.ordered(), batches)):
        if len(labels) == 1 and number > 0:
            continue  # batch statistics need more than one image
        loss = searcher.loss(batch, labels, seed_of(0, "ranked", number))
        total += float(loss(mixture)) * len(labels)
        correct += float(CLASSES.hits(loss.outputs, labels).sum())
        images += len(labels)
    return correct / images, total / images
