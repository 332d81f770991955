"""From settings to what a run works with: space, method, data, batches. Everything is checked before any data is
read."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from poise.config.settings import RunSettings
from poise.data import TextSource
from poise.data.batched import Batched
from poise.data.labels import empty_classes
from poise.diagnostics.diagnostic import all_of
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.run import RunFolder
from poise.engine.search import Searcher
from poise.engine.stages import Stage, first_of
from poise.engine.streams import at_stage, seed_of, seeded
from poise.errors import Refused
from poise.methods.method import Method
from poise.spaces.counting import costed, count, countable
from poise.spaces.forms import check_form
from poise.spaces.latency import check_own_form
from poise.spaces.space import AnyTask, Space, Task, channels_last
from poise.supernet.costs import Aim, aims, needed
from poise.supernet.groups import ChoiceGroup
from poise.workflow.batch_statistics import check_batch
from poise.workflow.checking import check_own
from poise.workflow.images import task_of
from poise.workflow.material import Material, material_of
from poise.workflow.tables import Tables


def note_data(source: Any, listen: Listener) -> None:
    """Say which images were left out, if any, and which classes have none to train on."""
    note_skipped(source, listen)
    empty = None
    if not isinstance(source, TextSource):
        empty = empty_classes(source.labels("train"), source.classes, f"the training split of {source.name}")
    if empty is not None:
        listen(Noted(empty))


def note_skipped(source: Any, listen: Listener) -> None:
    """Say which images were left out, if any."""
    skipped = getattr(source, "skipped", ())
    if skipped:
        first = "; ".join(f"{bad.name}: {bad.reason}" for bad in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        listen(Noted(f"{len(skipped)} images could not be read and were left out ({first}{more})"))


@dataclass(frozen=True)
class Preparation:
    """What the settings of a search mean: values first, data when it is asked for.

    ``space`` is what ``stage`` of the method's curriculum searches of ``whole``, the space of the settings in the form
    that the method searches; ``groups`` are its groups. ``tables`` are the latency tables that it goes by; not
    ``priced``, the method does not get to know what networks cost.
    """

    settings: RunSettings
    method: Method
    space: Space
    groups: tuple[ChoiceGroup, ...]
    place: Place
    spec: Any
    whole: Space
    stage: Stage = Stage()
    tables: Tables = field(default_factory=Tables)
    priced: bool = True

    @staticmethod
    def of(
        settings: RunSettings,
        data: Any = None,
        space: Space | None = None,
        folder: RunFolder | None = None,
        priced: bool = True,
    ) -> Preparation:
        """Raises `Refused` if settings make no sense together. ``data`` and ``space`` stand in for what they name;
        ``folder`` is the run's, if it has begun; not ``priced``, what networks cost does not matter."""
        if settings.data.streaming:
            raise Refused("a search holds its images in memory; data.streaming is for poise train, so set it to false")
        method = settings.build_method()
        whole = method.space(space or settings.build_space())
        first: Space = first_of(whole, method, settings.search.epochs)
        groups = first.groups
        check_batch(settings.search.batch_size, "search.batch_size", first, first.supernet)
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
        found = Preparation(settings, method, first, groups, place, spec, whole, tables=tables, priced=priced)
        found.material  # noqa: B018 - refuses settings that mean nothing for such data
        return found

    def at(self, stage: Stage) -> Preparation:
        """The same at a stage. Raises `Refused` if the search has none like it."""
        stages = len(self.method.curriculum.stages(self.settings.search.epochs))
        if stage.number >= stages:
            raise Refused(f"the search has {stages} stages, so there is no stage {stage.number + 1}")
        space: Space = self.method.curriculum.space(self.whole, stage.number, stage.narrowing)
        return replace(self, space=space, groups=space.groups, stage=stage)

    @cached_property
    def material(self) -> Material:
        """The data, of the kind that the space is for."""
        return material_of(self.settings, self.space, self.spec, self.place)

    @property
    def source(self) -> Any:
        """The data, opened but not loaded."""
        return self.material.source

    @property
    def halves(self) -> Sequence[Sized]:
        """What trains the weights and what trains the alphas. The test split is not touched."""
        return self.material.halves

    @property
    def fingerprint(self) -> str:
        """Of the data that the search sees."""
        return self.material.fingerprint

    @property
    def task(self) -> AnyTask:
        """What the supernet is for."""
        return self.material.task

    @cached_property
    def final_task(self) -> Task:
        """What the retrained network will be for: images in their own size. Reads one of them."""
        return task_of(self.source, self.settings.data.size)

    @cached_property
    def aim(self) -> Aim | None:
        """The target, and what networks of the size that is retrained cost. Raises `Refused` where the space cannot
        say, the latency table is about other networks, or no network meets the target."""
        target, form = self.settings.search.target, self.settings.train
        if target is None or not self.priced:
            return None
        if countable(target):
            found = count(self.space, self.final_task, target.metric, form.channels, form.cells, form.form)
        else:
            found = self.tables[str(target.table)].costs(self.space, self.final_task, form.channels, form.cells)
        return Aim(target, replace(found, narrowed=self.stage.number > 0))

    @property
    def batches(self) -> tuple[Batched, Batched]:
        """Batches of the two halves."""
        return self.material.batches

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
            supernet: Any = at.space.supernet(self.task)
        if weights is not None:
            supernet.load_state_dict(weights)
        training, searching = self.batches
        check_own(at.space, supernet, training, self.task, self.place)
        epochs = self.method.curriculum.stages(self.settings.search.epochs)[number]
        settings = self.settings.search.model_copy(update={"epochs": epochs})
        return Searcher(
            supernet, at.groups, at.method, settings, training, searching, self.place, seed, alphas, number, aim=at.aim
        )


def check_names(classes: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Raise `Refused` unless the data's classes are those that a network was trained for."""
    if tuple(classes) != tuple(expected):
        raise Refused(
            f"{what} was trained for {len(expected)} classes ({', '.join(expected)[:60]}); the data has {len(classes)} "
            f"({', '.join(classes)[:60]})"
        )
