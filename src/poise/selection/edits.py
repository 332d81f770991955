"""Edits of a mixture: candidates dropped, rows decided, rows removed. A value; applying it changes nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from poise.supernet.groups import ChoiceGroup


@dataclass(frozen=True)
class Edits:
    """``p -> p · scale + shift``, entry by entry; ``scale`` and ``shift`` are 0 or 1, and rows are never renormalised.

    Args:
        scale, shift: group -> ``[rows, candidates]``.
    """

    scale: Mapping[str, Tensor]
    shift: Mapping[str, Tensor]

    @staticmethod
    def none(groups: Sequence[ChoiceGroup]) -> Edits:
        """Edits that change nothing."""
        ones = {group.name: torch.ones(group.shape) for group in groups}
        return Edits(ones, {name: torch.zeros_like(value) for name, value in ones.items()})

    def _with(self, group: str, row: int, scale: Tensor, shift: Tensor) -> Edits:
        scales, shifts = dict(self.scale), dict(self.shift)
        scales[group], shifts[group] = scales[group].clone(), shifts[group].clone()
        scales[group][row], shifts[group][row] = scale, shift
        return Edits(scales, shifts)

    def drop(self, group: str, row: int, candidate: int) -> Edits:
        """This candidate's weight becomes 0."""
        keep = torch.ones_like(self.scale[group][row])
        keep[candidate] = 0
        return self._with(group, row, self.scale[group][row] * keep, self.shift[group][row] * keep)

    def decide(self, group: str, row: int, *candidates: int) -> Edits:
        """The row becomes 1 for the candidates, one or several, and 0 for all others."""
        zero = torch.zeros_like(self.scale[group][row])
        one = zero.clone()
        one[list(candidates)] = 1
        return self._with(group, row, zero, one)

    def remove(self, group: str, row: int) -> Edits:
        """The whole row becomes 0."""
        zero = torch.zeros_like(self.scale[group][row])
        return self._with(group, row, zero, zero)

    def on(self, device: torch.device) -> Edits:
        """The same on a device, to which each step would else copy them."""
        scale, shift = ({name: values.to(device) for name, values in part.items()} for part in (self.scale, self.shift))
        return Edits(scale, shift)

    def apply(self, probabilities: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The edited weights; ``probabilities``: group -> ``[..., rows, candidates]``."""
        return {
            group: values * self.scale[group].to(values) + self.shift[group].to(values)
            for group, values in probabilities.items()
        }
