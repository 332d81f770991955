"""A module of your own with all its candidates side by side, for counting and measuring them."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from poise.spaces.everything import Everything
from poise.supernet.choice import Choice
from poise.supernet.intact import keep_intact
from poise.supernet.supernet import choice_places, with_choices_replaced


class EveryCandidate(nn.Module):
    """Stands where a `Choice` was: every candidate gets the input as it came, and the first one's output goes on.

    The candidates are copies, so that a module which is a candidate twice is told apart; their weights are not.
    """

    def __init__(self, choice: Choice) -> None:
        super().__init__()
        self.candidates = nn.ModuleDict()
        for name, candidate in choice.candidates.items():
            same = copy.deepcopy(candidate, {id(weight): weight for weight in candidate.parameters()})
            keep_intact(same)
            self.candidates[name] = Scripted(same) if isinstance(same, torch.jit.ScriptModule) else same

    def forward(self, *inputs: Any, **options: Any) -> Any:
        outputs = [candidate(*inputs, **options) for candidate in self.candidates.values()]
        return outputs[0]


class Scripted(nn.Module):
    """A `torch.jit.ScriptModule`, which takes no hooks, in a module that takes them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.module(*inputs, **options)


def every_candidate(module: nn.Module) -> Everything:
    """A copy of ``module`` that computes every candidate of its `Choice` layers, and where they are.

    It holds the module's own numbers, on the CPU: what a module does may go by them, and not all code runs without.
    """
    places = {}
    for group, paths in choice_places(module).items():
        for path in paths:
            choice = module.get_submodule(path)
            assert isinstance(choice, Choice)
            for column, name in enumerate(choice.candidates):
                places[f"{path}.candidates.{name}".removeprefix(".")] = (group, 0, column)
    network = with_choices_replaced(module, lambda _, choice: EveryCandidate(choice))
    return Everything(network.to("cpu", torch.float32), places)
