"""Selection by perturbation, DARTS-PT's rule: a candidate is worth what the supernet loses without it.

Source: Wang et al., Rethinking Architecture Selection in Differentiable NAS (arXiv:2108.04392), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch

from poise.errors import Refused, unknown
from poise.selection.edits import Edits
from poise.selection.race import Race, Side
from poise.selection.rule import Decision, Score, Trained, TuneSchedule, eligible, selects
from poise.supernet.groups import ChoiceGroup, Kept, searchable

METRIC, LOSS = "metric", "loss"

Place = tuple[str, int]
"""A group's name, and a row or a node of it."""
Scores = dict[int, Score | None]
"""What was left out -> how the supernet does without it; None where that was not measured to its end."""


def _in_step(groups: Sequence[ChoiceGroup], counts: dict[str, int]) -> list[list[Place]]:
    """Places 0 ... count−1 of every group; groups that are cells of the same shape are visited in step."""
    cells = [group.name for group in groups if group.nodes]
    together = len({counts[name] for name in cells}) == 1
    visits: list[list[Place]] = []
    if together:
        visits += [[(name, place) for name in cells] for place in range(counts[cells[0]])]
    for group in groups:
        if not (together and group.nodes):
            visits += [[(group.name, place)] for place in range(counts[group.name])]
    return visits


@selects()
@dataclass(frozen=True)
class PerturbationRule:
    """Rows in random order: set each candidate's weight to 0 in turn (the row is not renormalised), keep the one whose
    removal hurts most, tune; then, in cells, nodes in random order: drop the incoming edges whose removal hurts least.

    A row that must keep m > 1 candidates (the inputs of a block in NAS-Bench-1Shot1) keeps the m whose removal hurts
    most, each measured once, on the whole search half, with all others still there; the paper has no such rows.

    Normal and reduction cells are visited in step. The supernet is tuned between any two visits: SGD is restarted at a
    tenth of its learning rate and, as in the released code, stays there; Adam keeps its state.

    What can no longer win a decision is not evaluated further, which changes no decision.

    Args:
        criterion: ``metric``, the one that counts; a metric of the task by its name, such as ``accuracy``; or ``loss``.
            On the search half with batch statistics. Ties of a metric are broken by the loss, and the other way round.
        tune_epochs: epochs of tuning between visits; published 5.
        confidence: also stop evaluating what is significantly worse than the best at this confidence, such as 0.999.
            A decision then differs from that of the full evaluation with a probability of about ``1 − confidence`` at
            most, if images come in random order; `poise.selection.race` says what is approximate. For ``accuracy``
            only, the share of predictions that are right. None: never.
        tune_schedule: the learning rate of the weights in tuning: ``constant``, as published, or a ``cosine`` over all
            of it, down to where the search ended.
    """

    criterion: str = METRIC
    tune_epochs: int = 5
    confidence: float | None = None
    tune_schedule: TuneSchedule = "constant"
    kind: ClassVar[str] = "perturbation"

    def __post_init__(self) -> None:
        if not isinstance(self.criterion, str):
            raise Refused(f"the criterion is metric, loss or a metric's name, got {self.criterion!r}")
        if self.tune_epochs < 0:
            raise Refused(f"tune_epochs must be at least 0, got {self.tune_epochs}")
        if self.tune_schedule not in get_args(TuneSchedule):
            raise Refused(f"the tune_schedule of a selection is constant or cosine, got {self.tune_schedule!r}")
        if self.confidence is not None:
            if not 0 < self.confidence < 1:
                raise Refused(f"confidence must lie between 0 and 1 (neither included), got {self.confidence}")
            if self.criterion == LOSS:
                raise self._early_refusal(LOSS, "use criterion=accuracy or leave confidence out")

    def _early_refusal(self, metric: str, advice: str) -> Refused:
        return Refused(
            f"confidence={self.confidence} stops comparisons of accuracies early, but the criterion is {metric!r}; "
            f"{advice}"
        )

    @property
    def metric(self) -> str | None:
        """The metric that is asked for; None: the one that counts."""
        return None if self.criterion in (METRIC, LOSS) else self.criterion

    def check_metrics(self, metrics: Sequence[str], decides: bool) -> None:
        """As `GoesByMetrics` says. ``accuracy/cat``, of a single class, is there if ``accuracy`` is."""
        if self.metric is not None and self.metric.partition("/")[0] not in metrics:
            raise unknown("criterion", self.metric, [METRIC, LOSS, *metrics])
        if self.confidence is not None and not (decides and self.metric in (None, metrics[0])):
            raise self._early_refusal(self.metric or metrics[0], "leave confidence out")

    def worth(self, without: Score) -> tuple[float, float]:
        """What something is worth, given the score without it; larger is better."""
        return (without.loss, -without.quality) if self.criterion == LOSS else (-without.quality, without.loss)

    def __call__(self, trained: Trained) -> Kept:
        chosen = searchable(trained.groups)
        groups = {group.name: group for group in chosen}
        rows = _in_step(chosen, {name: len(group.rows) for name, group in groups.items()})
        crowded = {
            name: [node for node in group.nodes if group.inputs is not None and len(node) > group.inputs]
            for name, group in groups.items()
        }
        nodes = _in_step(chosen, {name: len(found) for name, found in crowded.items()})

        edits = Edits.none(trained.groups)
        kept: dict[str, dict[int, tuple[int, ...]]] = {name: {} for name in groups}
        total = (len(rows) + len(nodes) - 1) * self.tune_epochs
        done = 0

        def tune() -> None:
            nonlocal done
            if self.tune_epochs and done < total:
                trained.tune(edits, self.tune_epochs, done, total, self.tune_schedule)
                done += self.tune_epochs

        for visit in self._shuffled(rows, trained.generator):
            for name, row in visit:
                without = {index: edits.drop(name, row, index) for index in eligible(groups[name], row)}
                kept[name][row], scores = self.dearest(trained, without, max(1, groups[name].min_kept))
                names = groups[name].rows[row].candidates
                removed = {names[index]: score for index, score in scores.items()}
                own = tuple(names[index] for index in kept[name][row])
                trained.decided(Decision(name, groups[name].rows[row].name, "operation", removed, own))
                edits = edits.decide(name, row, *kept[name][row])
            tune()
        for visit in self._shuffled(nodes, trained.generator):
            for name, index in visit:
                incoming = list(crowded[name][index])
                while len(incoming) > (groups[name].inputs or 0):
                    edges = [groups[name].rows[row].name for row in incoming]
                    least, scores = self.winner(trained, {row: edits.remove(name, row) for row in incoming}, "highest")
                    gone = edges[incoming.index(least)]
                    measured = dict(zip(edges, scores.values(), strict=True))
                    trained.decided(Decision(name, edges[0].partition("->")[2], "edge", measured, (gone,)))
                    incoming.remove(least)
                    edits = edits.remove(name, least)
                    del kept[name][least]
            tune()
        return {
            name: tuple(kept[name].get(row, ()) for row in range(len(group.rows))) for name, group in groups.items()
        }

    def dearest(self, trained: Trained, without: Mapping[int, Edits], count: int) -> tuple[tuple[int, ...], Scores]:
        """The ``count`` whose removal hurts most, by their indices, of equals the first; and all scores."""
        if count == 1:
            best, scores = self.winner(trained, without, "lowest")
            return (best,), scores
        if len(without) <= count:
            return tuple(without), dict.fromkeys(without)
        scores = dict(zip(without, trained.compare(list(without.values()), metric=self.metric), strict=True))
        worth = {index: self.worth(score) for index, score in scores.items() if score is not None}
        return tuple(sorted(sorted(worth, key=worth.__getitem__, reverse=True)[:count])), scores

    def winner(self, trained: Trained, without: Mapping[int, Edits], side: Side) -> tuple[int, Scores]:
        """Whose removal hurts most (leaves the least quality) or least, the first of equals; and all scores."""
        if len(without) == 1:
            return next(iter(without)), dict.fromkeys(without)
        race = Race(side, len(without), self.confidence) if self.criterion != LOSS else None
        scores = dict(zip(without, trained.compare(list(without.values()), race, self.metric), strict=True))
        worth = {index: self.worth(score) for index, score in scores.items() if score is not None}
        return (max if side == "lowest" else min)(worth, key=worth.__getitem__), scores

    @staticmethod
    def _shuffled(visits: list[list[Place]], generator: torch.Generator) -> list[list[Place]]:
        order = torch.randperm(len(visits), generator=generator).tolist()
        return [visits[index] for index in order]
