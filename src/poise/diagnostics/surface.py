"""A loss over a plane, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Surface:
    """``losses[i][j]`` is the loss at ``α + steps[i]·d₁ + steps[j]·d₂``, ``d₁`` and ``d₂`` of length 1.

    Args:
        name: of the plane, such as ``random``.
        title: what it is.
        axes: what ``d₁`` and ``d₂`` are.
        steps: ascending, 0 in the middle.
        losses: one row per step along ``d₁``.
    """

    name: str
    title: str
    axes: tuple[str, str]
    steps: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

    @property
    def slices(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The losses along ``d₁`` alone and along ``d₂`` alone."""
        middle = len(self.steps) // 2
        return tuple(row[middle] for row in self.losses), self.losses[middle]
