"""From settings to what a run works with: space, method, data, batches. Everything is checked before any data is
read."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from poise.config.settings import RunSettings
from poise.data.batched import Batched
from poise.diagnostics.diagnostic import all_of
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.run import RunFolder
from poise.engine.search import Searcher
from poise.engine.streams import seed_of, seeded
from poise.errors import Refused
from poise.methods.method import Method
from poise.spaces.space import AnyTask, Space
from poise.supernet.groups import ChoiceGroup
from poise.workflow.material import Material, material_of


def note_data(source: Any, listen: Listener) -> None:
    """Say which images were left out, if any."""
    skipped = getattr(source, "skipped", ())
    if skipped:
        first = "; ".join(f"{bad.name}: {bad.reason}" for bad in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        listen(Noted(f"{len(skipped)} images could not be read and were left out ({first}{more})"))


def check_resuming(resume: bool, out: Path | None, overwrite: bool, auto_batch: bool) -> None:
    """Raise `Refused` for what does not go with resuming a run."""
    if resume and (out is None or overwrite):
        raise Refused("to resume a run takes its folder, and does not go with overwriting it")
    if auto_batch and resume:
        raise Refused("a batch is picked before a run begins; resume it without that")


def check_data(folder: RunFolder, data: str, settings: RunSettings, listen: Listener) -> None:
    """Raise `Refused` if the data of a run, by its fingerprint, is not what it was when the run began. Data from Python
    may be made anew each time it is loaded, so there it is only said."""
    if folder.began_with(data):
        return
    changed = f"the data is not the same as when {folder.path} began"
    if settings.data.source != "python":
        raise Refused(f"{changed}; put it back as it was, or start the run again with --overwrite")
    listen(Noted(f"{changed}, so the result will not be that of a run that was never stopped"))


@dataclass(frozen=True)
class Preparation:
    """What the settings of a search mean: values first, data when it is asked for.

    ``space`` is the space of the settings without the candidates that the method leaves out.
    """

    settings: RunSettings
    method: Method
    space: Space
    groups: tuple[ChoiceGroup, ...]
    place: Place
    spec: Any

    @staticmethod
    def of(settings: RunSettings, data: Any = None, space: Space | None = None) -> Preparation:
        """Raises `Refused` if settings make no sense together. ``data`` and ``space`` stand in for what they name."""
        method = settings.build_method()
        space = method.space(space or settings.build_space())
        groups = space.groups
        method.check(groups, settings.search.epochs)
        all_of(settings.search.diagnostics)  # unknown names are refused before anything is read
        missing = [name for name in getattr(method.guard, "diagnostics", ()) if name not in settings.search.diagnostics]
        if missing:
            names = ",".join([*settings.search.diagnostics, *missing])
            raise Refused(f"guard={method.guard.kind} goes by what is not measured; add search.diagnostics=[{names}]")
        place = Place.open(settings.device, settings.precision)
        found = Preparation(settings, method, space, groups, place, settings.data.source if data is None else data)
        found.material  # noqa: B018 - refuses settings that mean nothing for such data
        return found

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

    @property
    def batches(self) -> tuple[Batched, Batched]:
        """Batches of the two halves."""
        return self.material.batches

    def searcher(self, alphas: dict[str, Tensor] | None = None, weights: dict[str, Tensor] | None = None) -> Searcher:
        """A searcher at its start, or with given alphas and weights."""
        seed = self.settings.seed
        with seeded(seed_of(seed, "weights"), self.place.device):
            supernet: Any = self.space.supernet(self.task)
        if weights is not None:
            supernet.load_state_dict(weights)
        training, searching = self.batches
        return Searcher(
            supernet, self.groups, self.method, self.settings.search, training, searching, self.place, seed, alphas
        )


def check_names(classes: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Raise `Refused` unless the data's classes are those that a network was trained for."""
    if tuple(classes) != tuple(expected):
        raise Refused(
            f"{what} was trained for {len(expected)} classes ({', '.join(expected)[:60]}); the data has {len(classes)} "
            f"({', '.join(classes)[:60]})"
        )
