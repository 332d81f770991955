"""From settings to what a run works with: space, method, data, batches. Everything is checked before any data is
read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from poise.config.settings import RunSettings
from poise.costs.costs import Aim, aims, needed
from poise.costs.counting import count, countable
from poise.costs.latency import check_own_form
from poise.diagnostics.diagnostic import all_of
from poise.engine.device import Place
from poise.engine.run import RunFolder
from poise.engine.searcher import Searcher
from poise.engine.stages import Stage, first_of
from poise.engine.streams import at_stage, seed_of, seeded
from poise.errors import Refused
from poise.methods.method import Method
from poise.spaces.everything import costed
from poise.spaces.forms import check_form
from poise.spaces.space import Space, channels_last
from poise.supernet.groups import ChoiceGroup
from poise.tasks.task import Material, Task, check_task
from poise.workflow.batch_statistics import check_batch
from poise.workflow.checking import check_own
from poise.workflow.latency_tables import Tables


@dataclass(frozen=True)
class Preparation:
    """What the settings of a search mean: values first, data when it is asked for.

    ``space`` is that of the settings as ``stage`` of the method's curriculum searches it, ``groups`` what is left of
    its groups there. ``tables`` are the latency tables that it goes by; not ``priced``, the method does not get to know
    what networks cost.
    """

    settings: RunSettings
    method: Method
    space: Space
    groups: tuple[ChoiceGroup, ...]
    place: Place
    spec: Any
    task: Task
    stage: Stage = Stage()
    tables: Tables = field(default_factory=Tables)
    priced: bool = True

    @staticmethod
    def of(
        settings: RunSettings, data: Any = None, folder: RunFolder | None = None, priced: bool = True
    ) -> Preparation:
        """Raises `Refused` if settings make no sense together. ``data`` stands in for what they name;
        ``folder`` is the run's, if it has begun; not ``priced``, what networks cost does not matter."""
        if settings.data.streaming:
            raise Refused("a search holds its images in memory; data.streaming is for poise train, so set it to false")
        method: Method = settings.method
        first: Space
        first, groups = first_of(settings.space, method, settings.search.epochs)
        task: Task = settings.task
        check_task(settings)
        check_batch(settings.search.batch_size, "search.batch_size", task.example, first.supernet)
        all_of(settings.search.diagnostics)  # unknown names are refused before anything is read
        missing = [name for name in getattr(method.guard, "diagnostics", ()) if name not in settings.search.diagnostics]
        if missing:
            names = ",".join([*settings.search.diagnostics, *missing])
            raise Refused(f"guard={method.guard.kind} goes by what is not measured; add search.diagnostics=[{names}]")
        check_form(first, settings.train.form)  # retraining must not fail after the search
        target, tables = settings.search.target, Tables(folder if priced else None)
        for slot in (*getattr(method.penalty, "terms", (method.penalty,)), method.selection):
            if aims(slot) and priced:
                needed(target, slot)
        if target is not None and priced:  # what is wrong is said before data is read
            costed(first)
            if target.table is not None:
                check_own_form(settings.train.form)
                _ = tables[target.table]
        place = Place.open(settings.device, settings.precision, channels_last(first))
        spec = settings.data.source if data is None else data
        return Preparation(settings, method, first, groups, place, spec, task, tables=tables, priced=priced)

    def at(self, stage: Stage) -> Preparation:
        """The same at a stage. Raises `Refused` if the search has none like it."""
        stages = len(self.method.curriculum.stages(self.settings.search.epochs))
        if stage.number >= stages:
            raise Refused(f"the search has {stages} stages, so there is no stage {stage.number + 1}")
        space, groups = self.method.searched(self.settings.space, stage.number, stage.narrowing)
        return replace(self, space=space, groups=groups, stage=stage)

    @cached_property
    def material(self) -> Material:
        """The data, opened when it is first asked for."""
        return self.task.material(self.settings, self.spec, self.place)

    @cached_property
    def aim(self) -> Aim | None:
        """The target, and what networks of the size that is retrained cost. Raises `Refused` where the space cannot
        say, the latency table is about other networks, or no network meets the target."""
        target, form = self.settings.search.target, self.settings.train
        if target is None or not self.priced:
            return None
        shape = self.material.final_shape
        if countable(target):
            found = count(self.space, shape, target.metric, form.channels, form.cells, form.form)
        else:
            found = self.tables[str(target.table)].costs(self.space, shape, form.channels, form.cells)
        return Aim(target, replace(found.left(self.groups), narrowed=self.stage.number > 0))

    def searcher(
        self,
        alphas: dict[str, Tensor] | None = None,
        weights: dict[str, Tensor] | None = None,
        stage: Stage | None = None,
    ) -> Searcher:
        """A searcher at its start, or with given alphas and weights; of another ``stage`` on the same loaded data."""
        at = self if stage is None else self.at(stage)
        seed, number = self.settings.seed, at.stage.number
        with seeded(seed_of(seed, *at_stage("weights", number)), self.place.device):
            supernet: Any = at.space.supernet(self.material.shape, at.groups)
        if weights is not None:
            supernet.load_state_dict(weights)
        (training, searching), objective = self.material.batches, self.material.objective
        check_own(at.space, supernet, training, self.material.shape, self.place, objective)
        epochs = self.method.curriculum.stages(self.settings.search.epochs)[number]
        settings = self.settings.search.model_copy(update={"epochs": epochs})
        return Searcher(
            supernet, at.groups, at.method, settings, training, searching, self.place, seed, alphas, number, objective,
            at.aim,
        )  # fmt: skip
