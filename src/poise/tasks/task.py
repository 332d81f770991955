"""What every task says, and nobody else has to know. One file in this folder is one task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import nn

from poise import registries
from poise.config.settings import RunSettings
from poise.config.values import from_facts, plain
from poise.data.batched import Batched
from poise.engine.batch_memory import Step
from poise.engine.checkpointer import Checkpointer
from poise.engine.device import Place
from poise.engine.events import Listener
from poise.engine.objective import ACCURACY, Metric, Objective
from poise.engine.predict import Predictor
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.export.exports import Export
from poise.genotype import Genotype
from poise.registry import Registry
from poise.report.summary import Summary
from poise.selection.rule import GoesByMetrics
from poise.spaces.space import Shape, Space, shape_kind


class Material(Protocol):
    """The data of a search: opened when it is first asked for, and loaded when it is needed."""

    @property
    def unit(self) -> str:
        """What the data is made of, as ``images``."""
        ...

    @property
    def halves(self) -> Sequence[Sized]:
        """What trains the weights, and what trains the alphas. The test split is not touched."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of what the search sees."""
        ...

    @property
    def shape(self) -> Shape:
        """What the supernet takes and gives."""
        ...

    @property
    def final_shape(self) -> Shape:
        """What the retrained network will take and give."""
        ...

    @property
    def batches(self) -> tuple[Batched, Batched]:
        """Batches of the two halves."""
        ...

    @property
    def objective(self) -> Objective:
        """What the supernet is trained and measured by."""
        ...

    def notes(self) -> Iterator[str]:
        """What a person should know of the data."""
        ...


class Supply(Protocol):
    """The data of a retraining, on its device."""

    @property
    def shape(self) -> Shape:
        """What the network takes and gives."""
        ...

    @property
    def objective(self) -> Objective:
        """What the network is trained by."""
        ...

    def fingerprint(self) -> str:
        """Of everything that the training sees."""
        ...

    def batches(self, count: int) -> Batched:
        """Training batches of so many."""
        ...

    def step(self, network: nn.Module, settings: RunSettings, batches: Batched) -> Step:
        """The step of the training, as far as its memory goes."""
        ...

    def train(
        self,
        network: nn.Module,
        settings: RunSettings,
        batches: Batched,
        listen: Listener,
        saver: Checkpointer,
        rate: float,
    ) -> list[dict[str, Any]]:
        """Train the network in place, from the saver's start on, at ``rate`` times the learning rate; a record per
        epoch."""
        ...

    def trained(self, network: nn.Module, genotype: Genotype, settings: RunSettings, folder: Path | None) -> Trained:
        """The network as a value, before it is trained."""
        ...

    def measured(self, network: nn.Module, settings: RunSettings) -> dict[str, float]:
        """How a trained network does on what is held back."""
        ...


class Trained(Protocol):
    """A retrained network, and what is needed to use it: a frozen dataclass."""

    @property
    def network(self) -> nn.Module: ...

    @property
    def genotype(self) -> Genotype: ...

    @property
    def history(self) -> Sequence[Mapping[str, Any]]: ...

    @property
    def result(self) -> Mapping[str, float]: ...

    @property
    def folder(self) -> Path | None: ...

    @property
    def parameters(self) -> int:
        """Parameters in use after training."""
        ...

    def facts(self, settings: RunSettings) -> dict[str, Any]:
        """What it takes to build it and to use it, as JSON can hold it."""
        ...

    def evaluate(
        self, data: Any, device: str, precision: str, batch_size: int, skip_bad_images: bool, listen: Listener
    ) -> dict[str, float]:
        """How it does on the test split. Raises `Refused` if there is none, or the network is not for such data."""
        ...

    def predictor(self, device: str, precision: str) -> Predictor:
        """The network, ready to predict. Raises `Refused` if there is nothing that such networks predict."""
        ...

    def export(self, write: Export, path: Path) -> list[Path]:
        """Write it in a format. Raises `Refused` if there is none for such networks."""
        ...

    def summary(self) -> Summary:
        """What it is, and what to do next."""
        ...


class Task(Protocol):
    """What networks are for. A task is a frozen value; its class is registered by ``@TASKS.add("name")``."""

    name: ClassVar[str]
    shapes: ClassVar[tuple[type, ...]]
    """What its networks may take and give; a space says by its ``shape`` what its own do."""
    unused: ClassVar[tuple[str, ...]]
    """Settings that mean nothing for it."""
    defaults: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Settings that its runs begin with, in place of those of the space's preset."""
    exports: ClassVar[bool]
    """Whether there are formats to export its networks to."""

    @property
    def measures(self) -> tuple[Metric, ...]:
        """The metrics, as an objective's; empty: they are known once the data is."""
        ...

    @property
    def example(self) -> Shape:
        """Some shape that a network can be made for before any data is read."""
        ...

    def check(self, settings: RunSettings) -> None:
        """Raise `Refused` for settings that no network of this task can have."""
        ...

    def material(self, settings: RunSettings, spec: Any, place: Place) -> Material:
        """The data of a search. Raises `Refused` if it is of another kind than the task or the space is for."""
        ...

    def supply(self, settings: RunSettings, spec: Any, place: Place, listen: Listener) -> Supply:
        """The data of a retraining; what is wrong with any part of it is said now, not after hours."""
        ...

    def load(self, folder: RunFolder, space: Space) -> Trained:
        """A network that was saved. Raises `Refused` if it is damaged."""
        ...


TASKS: Registry[type[Task]] = registries.TASKS


def check_task(settings: RunSettings) -> None:
    """Raise `Refused` where a task is not for the networks of the space, for settings that mean nothing for it, for a
    selection that goes by what it does not measure, and for settings that none of its networks can have."""
    task: Task = settings.task
    space: Space = settings.space
    if shape_kind(space) not in task.shapes:
        fitting = [name for name in TASKS if shape_kind(space) in TASKS[name].shapes]
        raise Refused(f"the networks of space {space.name!r} are not for {task.name}, but for {', '.join(fitting)}")
    for name in task.unused:
        value: Any = settings
        default: Any = None
        for part in name.split("."):
            default = type(value).model_fields[part].get_default(call_default_factory=True)
            value = getattr(value, part)
        if value != default:
            raise Refused(f"{name} means nothing here: the task is {task.name}")
    selection = settings.method.selection
    if isinstance(selection, GoesByMetrics) and task.measures:
        selection.check_metrics([metric.name for metric in task.measures], task.measures[0] == ACCURACY)
    task.check(settings)


def task_facts(task: Any) -> dict[str, Any]:
    """A task as JSON holds it; `task_from` gives it back."""
    return {"name": task.name} | (task.facts if hasattr(task, "facts") else plain(task))


def task_from(facts: Any, where: Path) -> Task:
    """The task that `task_facts` were of. Raises `Refused` if they are damaged, or there is none of that name."""
    if not isinstance(facts, dict) or not isinstance(facts.get("name"), str):
        raise Refused(f"{where} is damaged: it does not say what the network is for")
    fields = {name: value for name, value in facts.items() if name != "name"}
    task: Task = from_facts(TASKS[facts["name"]], fields, "task")
    return task
