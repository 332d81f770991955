"""Groups and trained supernets made up for the tests of selection rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from poise.costs.costs import Aim
from poise.selection.edits import Edits
from poise.selection.race import Standing, Survivors
from poise.selection.rule import Decision, Score
from poise.supernet.groups import ChoiceGroup, Kept, Row

EDGES = [(0, 2), (1, 2), (0, 3), (1, 3), (2, 3), (0, 4), (1, 4), (2, 4), (3, 4)]
NODES = ((0, 1), (2, 3, 4), (5, 6, 7, 8))


def cell(candidates: Sequence[str], name: str = "normal") -> ChoiceGroup:
    """A cell of two inputs and three nodes: 9 edges."""
    rows = tuple(Row(f"{source}->{target}", tuple(candidates)) for source, target in EDGES)
    return ChoiceGroup(name, 2, rows, nodes=NODES, inputs=2)


def free(candidates: Sequence[str], rows: int = 2, name: str = "cell") -> ChoiceGroup:
    """Rows that are choices of their own."""
    return ChoiceGroup(name, 2, tuple(Row(str(row), tuple(candidates)) for row in range(rows)), max_kept=1)


class Fake:
    """A trained supernet whose probabilities and scores are given."""

    def __init__(
        self,
        probabilities: Mapping[str, object],
        groups: Sequence[ChoiceGroup],
        score: Callable[[dict[str, Tensor]], Score] | None = None,
        valid: Callable[[Kept], bool] = lambda kept: True,
        seed: int = 0,
        aim: Aim | None = None,
    ) -> None:
        self.groups = groups
        self.aim = aim
        self.generator = torch.Generator().manual_seed(seed)
        self.values = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in probabilities.items()}
        self._score = score
        self._valid = valid
        self.notes: list[str] = []
        self.decisions: list[Decision] = []
        self.measured: list[dict[str, Tensor]] = []
        self.schedules: list[str] = []
        self.tuned: list[tuple[dict[str, Tensor], int, int, int, int]] = []

    def probabilities(self) -> Mapping[str, Tensor]:
        return self.values

    def valid(self, kept: Kept) -> bool:
        return self._valid(kept)

    def compare(
        self, edits: Sequence[Edits], keep: Survivors | None = None, metric: str | None = None
    ) -> list[Score | None]:
        """Every edit completely: whoever asks may not rely on anything being left out."""
        assert self._score is not None, "this rule needs no data"
        mixtures = [edit.apply(self.values) for edit in edits]
        self.measured += mixtures
        return [self._score(mixture) for mixture in mixtures]

    def tune(self, edits: Edits, epochs: int, done: int, total: int, schedule: str = "constant") -> None:
        self.schedules.append(schedule)
        self.tuned.append((edits.apply(self.values), len(self.measured), epochs, done, total))

    def decided(self, decision: Decision) -> None:
        self.decisions.append(decision)

    def note(self, message: str) -> None:
        self.notes.append(message)


def replay(
    hits: Tensor, losses: Tensor, size: int, keep: Survivors | None = None
) -> tuple[list[Score | None], list[int]]:
    """A comparison of candidates whose answers are known, and how many images each was evaluated on.

    Args:
        hits, losses: ``[candidates, images]``.
        size: images per batch.
    """
    total = hits.shape[1]
    looks = -(-total // size)
    racing, seen, evaluated = list(range(len(hits))), 0, [0] * len(hits)
    for look in range(1, looks + 1):
        seen = min(look * size, total)
        for index in racing:
            evaluated[index] = seen
        if keep is not None and look < looks:
            stays = keep(Standing(hits[racing, :seen], total, look, looks))
            assert stays.shape == (len(racing),)
            assert bool(stays.any())
            racing = [index for index, stay in zip(racing, stays.tolist(), strict=True) if stay]
            if len(racing) == 1:
                break
    right, loss = hits[:, :seen].double().mean(dim=1).tolist(), losses[:, :seen].double().mean(dim=1).tolist()
    return [Score(right[i], loss[i]) if i in racing else None for i in range(len(hits))], evaluated


class Replay(Fake):
    """A `Fake` that knows the answer to every image, and listens to who is still in the race.

    Args:
        answers: a mixture -> (hits, losses), each ``[images]``.
        size: images per batch.
        listens: False: every candidate is evaluated completely.
    """

    def __init__(
        self,
        probabilities: Mapping[str, object],
        groups: Sequence[ChoiceGroup],
        answers: Callable[[dict[str, Tensor]], tuple[Tensor, Tensor]],
        size: int,
        listens: bool = True,
    ) -> None:
        super().__init__(probabilities, groups)
        self._answers, self._size, self._listens = answers, size, listens
        self.evaluated = 0

    def compare(
        self, edits: Sequence[Edits], keep: Survivors | None = None, metric: str | None = None
    ) -> list[Score | None]:
        answers = [self._answers(edit.apply(self.values)) for edit in edits]
        hits, losses = (torch.stack(parts) for parts in zip(*answers, strict=True))
        scores, evaluated = replay(hits, losses, self._size, keep if self._listens else None)
        self.evaluated += sum(evaluated)
        return scores
