"""What a saved run was about: its settings and its space. A module of your own has to be passed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from poise.config.reading import read_yaml
from poise.config.resolve import resolve
from poise.config.settings import RunSettings
from poise.engine.run import RunFolder
from poise.errors import Refused, shown
from poise.genotype import Genotype
from poise.spaces.custom import ModuleSpace
from poise.spaces.space import SPACES
from poise.supernet.groups import ChoiceGroup, Row
from poise.supernet.supernet import ModuleSupernet, choice_places
from poise.tasks.task import Task


@dataclass(frozen=True)
class SavedModule:
    """What a run's configuration says of a module of your own: enough to show its run, not to build anything."""

    choices: Mapping[str, Sequence[str]]

    name: ClassVar[str] = ModuleSpace.name
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = ModuleSpace.presets
    describe: ClassVar[Callable[[Any, Genotype], str]] = ModuleSpace.describe

    @property
    def facts(self) -> dict[str, Any]:
        """As `ModuleSpace.facts`."""
        return {"choices": {group: list(candidates) for group, candidates in self.choices.items()}}

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """As `ModuleSpace.groups`, each with one layer: how many there were is not kept."""
        return tuple(
            ChoiceGroup(name, 1, (Row("choice", tuple(candidates)),), min_kept=1, max_kept=1)
            for name, candidates in self.choices.items()
        )


def settings_of(folder: RunFolder, overrides: Sequence[tuple[str, Any]] = (), device: str | None = None) -> RunSettings:
    """The settings that a run was started with, with overrides. They do not need the module of your own.

    Raises `Refused` for a space that only exists in Python, which no folder can bring back.
    """
    config = folder.path / "config.yaml"
    space = read_yaml(config).get("space")
    name = space.get("name") if isinstance(space, dict) else space
    saved: Any = None
    if isinstance(space, dict) and name == ModuleSpace.name:
        saved = _saved(space, config)
    elif name not in SPACES:
        raise Refused(
            f"{folder.path} searched {name!r}, a space that exists in Python only; use the result of poise.search"
        )
    return resolve(file=config, overrides=overrides, device=device, space=saved)


def _saved(space: Mapping[str, Any], config: Path) -> SavedModule:
    choices = space.get("choices")
    if not isinstance(choices, dict) or not all(
        isinstance(names, list) and len(names) > 1 and all(isinstance(name, str) for name in names)
        for names in choices.values()
    ):
        raise Refused(f"{config} is damaged: it does not say which candidates the module had")
    return SavedModule(choices)


def is_own(settings: RunSettings) -> bool:
    """Whether a run is one of a module of your own."""
    return bool(settings.space.name == ModuleSpace.name)


def with_own(folder: RunFolder, settings: RunSettings, module: object, task: object, call: str) -> RunSettings:
    """The settings of a saved run, ready to build from: where it is one of a module of your own, with ``module``, as it
    was given to `poise.search`, for its space; and likewise with ``task``.

    ``call`` is what a person calls to pass them, such as ``select``. Raises `Refused` for a module or a task that is
    not the run's, and for one that the run has no use for.
    """
    settings = settings.model_copy(update={"task": own_task(folder.path, settings.task, task, call)})
    if not is_own(settings):
        check_unused(module, f"{folder.path} is one of space {settings.space.name!r}")
        return settings
    space = own_space(folder.path, module, call)
    found, expected = space.facts["choices"], settings.space.facts["choices"]
    for group in (*expected, *found):
        if found.get(group) != expected.get(group):
            raise Refused(
                f"module= is not the module of {folder.path}: its Choice {group!r} has {_listed(found.get(group))}, "
                f"expected {_listed(expected.get(group))}"
            )
    if (folder.path / "supernet.safetensors").is_file():  # a selection by the alphas would not read it
        folder.load_tensors("supernet.safetensors", ModuleSupernet(space.module).state_dict())
    return settings.model_copy(update={"space": space})


def _listed(candidates: Sequence[str] | None) -> str:
    return "no candidates" if candidates is None else f"the candidates {', '.join(candidates)}"


def own_space(path: Path, module: object, call: str) -> ModuleSpace:
    """The space of the module that was passed for the run at ``path``. Raises `Refused` if none was, or no such one."""
    if module is None:
        raise Refused(
            f"{path} is of a module of your own, which no folder can bring back: pass it as you gave it to "
            f"poise.search, from Python: poise.{call}({str(path)!r}, ..., module=...)"
        )
    if not isinstance(module, nn.Module) or not choice_places(module):
        name = module.__name__ if isinstance(module, type) else type(module).__name__
        what = f"the class {name}" if isinstance(module, type) else f"a {name} without one"
        raise Refused(
            f"module= takes the module as you gave it to poise.search, with its poise.Choice layers; got {what}"
        )
    return ModuleSpace(module)


def own_task(path: Path, saved: Task, task: object, call: str) -> Task:
    """The task of the run at ``path``, which a file can build unless it has facts: then it is the one that was passed.
    Raises `Refused` if none was, or another one."""
    if not hasattr(saved, "facts"):
        check_unused(None, f"{path} is for {saved.name}", task)
        return saved
    if task is None:
        raise Refused(
            f"{path} is for a task of your own, which no folder can bring back: pass it as you gave it to "
            f"poise.search, from Python: poise.{call}({str(path)!r}, ..., task=...)"
        )
    if type(task) is not type(saved) or task.facts != saved.facts:
        given = getattr(task, "facts", shown(task))
        raise Refused(f"task= is not the task of {path}: it has {given}, expected {saved.facts}")
    return task


def check_unused(module: object, why: str, task: object = None) -> None:
    """Raise `Refused` if a module or a task was passed to what has no use for it."""
    for name, value in (("module", module), ("task", task)):
        if value is not None:
            raise Refused(f"{name}= is for a saved run of a {name} of your own; {why}")
