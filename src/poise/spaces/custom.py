"""Your own module as a search space: every `Choice` in it is searched, and the result is the module with choices
made."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.every_candidate import every_candidate
from poise.spaces.everything import Everything
from poise.spaces.space import Shape, check_choices
from poise.supernet.choice import Choice
from poise.supernet.groups import ChoiceGroup
from poise.supernet.intact import keep_intact
from poise.supernet.supernet import ModuleSupernet, choice_places, with_choices_replaced


def with_choices_made(module: nn.Module, genotype: Genotype) -> nn.Module:
    """A copy of ``module`` in which every `Choice` is replaced by the candidate that the genotype keeps.

    Weights come along: what the candidate holds in ``module`` it holds in the copy. Nor does a candidate change what it
    is given there, or hand it on to be changed, which a `Choice` never does: see `keep_intact`.
    """

    def kept(group: str, choice: Choice) -> nn.Module:
        candidate = choice.candidates[genotype.choices[group]["choice"][0]]
        keep_intact(candidate)
        return candidate

    return with_choices_replaced(module, kept)


@dataclass(frozen=True)
class ModuleSpace:
    """The space of a module that holds `poise.Choice` layers. The module itself is never changed."""

    module: nn.Module

    name: ClassVar[str] = "custom"
    dense: ClassVar[bool] = True  # whatever your forward does
    channels_last: ClassVar[bool] = False  # your forward may say `view`, which goes by the layout
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "demo": {
            "search": {"epochs": 6, "alphas": {"learning_rate": 3e-3}},
            "train": {"epochs": 20, "drop_path": 0.0, "auxiliary": 0.0},
        },
        "small": {"search": {"epochs": 25}, "train": {"epochs": 60, "drop_path": 0.0, "auxiliary": 0.0}},
        "paper": {"search": {"epochs": 50}, "train": {"epochs": 600, "drop_path": 0.0, "auxiliary": 0.0}},
    }

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """One group per group name of the module's `Choice` layers, with a layer for each of them."""
        return ModuleSupernet(self.module).groups

    @property
    def facts(self) -> dict[str, Any]:
        """What a run's configuration keeps of the module, to know it again: group -> candidates, in their order."""
        return {"choices": {group.name: list(group.rows[0].candidates) for group in self.groups}}

    @property
    def structure(self) -> str:
        """A hash of the module's layers, their options, groups and the shapes of their weights."""
        layers = re.sub(r"0x[0-9a-fA-F]+", "", repr(self.module))  # a function shows its address, which says nothing
        values = {name: (tuple(value.shape), str(value.dtype)) for name, value in self.module.state_dict().items()}
        about = repr((type(self.module).__qualname__, layers, values, choice_places(self.module)))
        return hashlib.sha256(about.encode()).hexdigest()[:12]

    def supernet(self, shape: Shape, groups: tuple[ChoiceGroup, ...] | None = None) -> ModuleSupernet:
        """A supernet on a copy of the module, starting from the weights that it has now. Of its groups nothing can be
        left out."""
        return ModuleSupernet(copy.deepcopy(self.module))

    def check(self, genotype: Genotype) -> None:
        """Every group keeps exactly one candidate."""
        check_choices(genotype, self.name, self.groups)

    def network(
        self,
        genotype: Genotype,
        shape: Shape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
    ) -> nn.Module:
        """A copy of the module with the choices made. Its size is its own: ``channels`` and ``cells`` are refused."""
        _check_size(channels, cells, auxiliary)
        self.check(genotype)
        return with_choices_made(self.module, genotype)

    def everything(self, shape: Shape, *, channels: int | None = None, cells: int | None = None) -> Everything:
        """A copy of the module that computes every candidate, and where they are; for counting and measuring."""
        _check_size(channels, cells)
        return every_candidate(self.module)

    def describe(self, genotype: Genotype) -> str:
        """``group=candidate`` for every group."""
        return ", ".join(f"{group}={rows['choice'][0]}" for group, rows in genotype.choices.items())


def _check_size(channels: int | None, cells: int | None, auxiliary: bool = False) -> None:
    if channels is not None or cells is not None or auxiliary:
        raise Refused("a module of your own has its own size: channels, cells and auxiliary do not apply to it")
