"""What a search would have taken after each of its epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from poise.costs.costs import Aim, aims
from poise.genotype import Genotype
from poise.methods.method import Method
from poise.report.timeline import Moment, Timeline, chosen_moments
from poise.selection.edits import Edits
from poise.selection.magnitude import by_magnitude
from poise.selection.rule import Decision, Score, Selection, TuneSchedule, measures
from poise.spaces.space import genotype_of, kept_of
from poise.supernet.groups import ChoiceGroup, Kept, searchable


@dataclass
class AlphasAlone:
    """What a rule that goes by the alphas needs of a supernet. Satisfies `poise.selection.rule.Trained`."""

    groups: Sequence[ChoiceGroup]
    values: Mapping[str, Tensor]
    generator: torch.Generator = field(default_factory=torch.Generator)
    aim: Aim | None = None

    def probabilities(self) -> Mapping[str, Tensor]:
        return self.values

    def valid(self, kept: Kept) -> bool:
        return True

    def compare(self, edits: Sequence[Edits], keep: Any = None, metric: str | None = None) -> list[Score | None]:
        raise NotImplementedError

    def tune(self, edits: Edits, epochs: int, done: int, total: int, schedule: TuneSchedule = "constant") -> None:
        raise NotImplementedError

    def note(self, message: str) -> None:
        """Nobody waits for it."""

    def decided(self, decision: Decision) -> None:
        """Nobody asks."""


def timeline(
    history: Sequence[Mapping[str, Any]],
    groups: Sequence[ChoiceGroup],
    method: Method,
    space: str,
    outcome: tuple[Genotype, Mapping[str, Tensor]] | None = None,
) -> Timeline | None:
    """The mixture after the epochs of a search's last stage, and what its rule would have taken; magnitude, where the
    rule has to measure or to know what networks cost.

    Args:
        history: the records of all epochs.
        groups: what is left of the space's in that stage.
        method: of the search.
        space: its name.
        outcome: what was selected in the end, and the alphas that it was selected by.

    Returns:
        None where there is nothing to show yet.
    """
    rule, shown = method.selection, searchable(groups)
    by_alphas = not measures(rule) and not aims(rule)
    records = [record for record in history if _fits(record, groups)]
    found: list[Moment] = []
    for record in (records[place] for place in chosen_moments(len(records))):
        alphas = {name: torch.tensor(values, dtype=torch.float32) for name, values in record["alphas"].items()}
        mixture = {group.name: method.relaxation(alphas[group.name]) for group in groups}
        kept = _kept(rule if by_alphas else None, groups, mixture)
        label = f"After epoch {record.get('epoch', len(found)) + 1}"
        found.append(Moment(label, mixture, genotype_of(space, kept, groups), kept))
    if outcome is not None:
        genotype, final = outcome
        mixture = {name: method.relaxation(values) for name, values in final.items()}
        found.append(Moment("What was selected", mixture, genotype, kept_of(genotype, groups)))
    note = (
        f"Frames and cells show what selection by {rule.kind} would take at this point."
        if by_alphas
        else f"Frames and cells show the largest weights at this point; in the end {rule.kind} decides."
    )
    return Timeline(shown, found, note) if found else None


def _kept(rule: Selection | None, groups: Sequence[ChoiceGroup], mixture: Mapping[str, Tensor]) -> Kept:
    return by_magnitude(groups, mixture) if rule is None else rule(AlphasAlone(groups, mixture))


def _fits(record: Mapping[str, Any], groups: Sequence[ChoiceGroup]) -> bool:
    """Whether a record holds alphas of these groups."""
    alphas = record.get("alphas")
    try:
        return all(torch.tensor(alphas[group.name]).shape == group.shape for group in groups)  # type: ignore[index]
    except (KeyError, TypeError, ValueError, RuntimeError):
        return False
