"""The supernet: a pure function of inputs and mixture. `ModuleSupernet` makes one of any module that holds
`Choice`s."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor, nn
from torch.func import functional_call

from poise.errors import Refused
from poise.genotype import checked_name
from poise.supernet.choice import Choice
from poise.supernet.groups import ChoiceGroup, Mixture, Row
from poise.supernet.inputs import Answer
from poise.supernet.intact import copied
from poise.supernet.trees import Tree, arguments


class Supernet(Protocol):
    """An `nn.Module` that holds network weights only; how much of each candidate is used comes as an argument.

    One that curricula may search with dropout also takes the keyword ``skip_dropout``, a rate: how likely each entry of
    what a skip connection without parameters puts out is dropped in training mode.

    One that has a true attribute ``takes_draws`` draws random numbers from the keyword ``draws``, a
    `poise.supernet.draws.Chance`, and from nothing else; one that has a true ``draws_nothing`` draws none. For all
    others torch's own generators are seeded in each call, which a GPU cannot capture.
    """

    groups: tuple[ChoiceGroup, ...]

    def __call__(self, inputs: Any, mixture: Mixture) -> Tensor | Answer:
        """``images [batch, channels, height, width]``, mixture -> ``logits [batch, classes]``; of other data an
        `Answer`."""
        ...


def choice_places(module: nn.Module) -> dict[str, list[str]]:
    """Group -> the dotted paths of its `Choice` layers, in the module's order. A nameless one is its own group."""
    places: dict[str, list[str]] = {}
    for path, layer in module.named_modules():
        if isinstance(layer, Choice):
            places.setdefault(layer.group or path or "choice", []).append(path)
    return places


def with_choices_replaced(module: nn.Module, replacement: Callable[[str, Choice], nn.Module]) -> nn.Module:
    """A copy of ``module`` where each `Choice`, wherever it stands, is what ``replacement`` makes of its group and
    it."""
    result = copy.deepcopy(module)
    made: dict[nn.Module, nn.Module] = {}
    for group, paths in choice_places(result).items():
        for path in paths:
            choice = result.get_submodule(path)
            assert isinstance(choice, Choice)
            made[choice] = replacement(group, choice)
    if result in made:
        return made[result]
    for path, layer in list(result.named_modules(remove_duplicate=False)):  # a Choice can stand in several places
        if layer in made:
            parent, _, child = path.rpartition(".")
            setattr(result.get_submodule(parent), child, made[layer])
    return result


class ModuleSupernet(nn.Module):
    """A supernet made of your own module: every `Choice` in it gets its row of the mixture as an argument of the call.

    The module's forward is untouched: `torch.func.functional_call` substitutes the rows for one call only.

    Raises:
        Refused: the module holds no `Choice`, one inside another, or choices of one group with different candidates.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.places = choice_places(module)
        if not self.places:
            raise Refused(f"{type(module).__name__} holds no poise.Choice layer, so there is nothing to search")
        groups, whole = [], "candidates of your own module are left out in the module"
        for name, paths in self.places.items():
            layers = [module.get_submodule(path) for path in paths]
            candidates = {tuple(layer.candidates) for layer in layers if isinstance(layer, Choice)}
            if len(candidates) != 1:
                raise Refused(
                    f"the Choice layers of group {name!r} must have the same candidates, got {sorted(candidates)}"
                )
            checked_name(name, "the group of a Choice")
            row = Row("choice", next(iter(candidates)))
            groups.append(ChoiceGroup(name, len(paths), (row,), min_kept=1, max_kept=1, whole=whole))
        self.groups = tuple(groups)
        every = [path for paths in self.places.values() for path in paths]
        inner = [
            path
            for path in every
            if any(path != other and path.startswith(f"{other}." if other else "") for other in every)
        ]
        if inner:
            raise Refused(f"Choice {inner[0]!r} lies inside another Choice; poise searches choices side by side")

    def forward(self, inputs: Tree, mixture: Mixture) -> Tensor:
        """The module's outputs for these inputs, handed to it as `arguments` says."""
        rows = {
            f"{path}.mixture" if path else "mixture": mixture[name][layer, 0]
            for name, paths in self.places.items()
            for layer, path in enumerate(paths)
        }
        # A loss may be called again with the same inputs, so a module that works in place must not change them.
        outputs: Tensor = functional_call(self.module, rows, *copied(*arguments(inputs)))
        return outputs
