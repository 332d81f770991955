"""Groups and trained supernets made up for the tests of selection rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from poise.selection.edits import Edits
from poise.selection.rule import Score
from poise.supernet.groups import ChoiceGroup, Kept, Row

EDGES = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4)]
NODES = ((0, 1), (2, 3, 4), (5, 6, 7, 8))


def cell(candidates: Sequence[str], name: str = "normal") -> ChoiceGroup:
    """A cell of two inputs and three nodes: 9 edges."""
    rows = tuple(Row(f"{source}->{target}", tuple(candidates)) for source, target in EDGES)
    return ChoiceGroup(name, 2, rows, nodes=NODES, inputs=2)


def free(candidates: Sequence[str], rows: int = 2, name: str = "cell") -> ChoiceGroup:
    """Rows that are choices of their own."""
    return ChoiceGroup(name, 2, tuple(Row(str(row), tuple(candidates)) for row in range(rows)), most=1)


class Fake:
    """A trained supernet whose probabilities and scores are given."""

    def __init__(
        self,
        probabilities: Mapping[str, object],
        groups: Sequence[ChoiceGroup],
        score: Callable[[dict[str, Tensor]], Score] | None = None,
        valid: Callable[[Kept], bool] = lambda kept: True,
        seed: int = 0,
    ) -> None:
        self.groups = groups
        self.generator = torch.Generator().manual_seed(seed)
        self.values = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in probabilities.items()}
        self._score = score
        self._valid = valid
        self.notes: list[str] = []
        self.measured: list[dict[str, Tensor]] = []
        self.tuned: list[tuple[dict[str, Tensor], int, int, int, int]] = []

    def probabilities(self) -> Mapping[str, Tensor]:
        return self.values

    def valid(self, kept: Kept) -> bool:
        return self._valid(kept)

    def measure(self, edits: Edits) -> Score:
        assert self._score is not None, "this rule needs no data"
        mixture = edits.apply(self.values)
        self.measured.append(mixture)
        return self._score(mixture)

    def tune(self, edits: Edits, epochs: int, done: int, total: int) -> None:
        self.tuned.append((edits.apply(self.values), len(self.measured), epochs, done, total))

    def note(self, message: str) -> None:
        self.notes.append(message)
