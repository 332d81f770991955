"""How decided the choices of a search are: by how much what was kept leads, against what chance explains.

For a choice let ``m_e`` be the lead after epoch ``e``: the score of the weakest candidate that was kept, minus that of
the strongest that was not, of those that the selection takes at all. ``m`` is the lead in the alphas that the selection
got, ``T`` the number of epochs that count, ``d_e = m_e − m_{e−1}`` for the last ``n = min(⌈T/2⌉, T − 1)`` of them:

    σ² = Σ (d_e − max(d̄, 0))² / (n − 1),    ratio = m / (t·σ·√T)

``t`` is the quantile of Student's distribution with ``n − 1`` degrees of freedom that chance exceeds, on either side,
in one of 20 cases. If the alphas only wandered, in independent steps of a size that does not change, ``m/(σ√T)`` would
follow that distribution, or, with several candidates, stay below it: so at most one choice in 20 would get a ratio of 1
or more without a reason. A steady gain is the search deciding, so it is no noise (``d̄``); a steady loss is (``max``).

The score of an operation is its ``α``: in a row of a softmax differences of ``α`` are those of ``log p``, and in both
relaxations neither a constant added to a row nor the scale of the alphas matters. The score of an edge is the logarithm
of the strength that a cell keeps edges by, ``log(β_e · max_o p[e, o])``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from scipy.special import stdtrit
from torch import Tensor

from poise.errors import Refused
from poise.methods.slots import Relaxation
from poise.selection.rule import eligible
from poise.supernet.groups import ChoiceGroup, Kept, row_weights, searchable

CHANCE = 0.05
"""How often chance alone may pass for a decision."""
ADVICE = (
    "chance alone may have given them their lead: search longer, compare seeds, or have influence measured with "
    "poise select RUN --rule perturbation"
)
FEWEST = 3
"""Epochs: with fewer there are not two moves of a lead to compare."""
MOST_NAMED = 3
"""Choices that a line names."""
Of = Literal["operation", "edge"]
FORMAT = {"format": "poise.decidedness", "version": 1}


@dataclass(frozen=True)
class Lead:
    """By how much a choice leads.

    Args:
        group, row: where; of edges the row of the weakest that was kept.
        of: what was chosen: a row's ``operation``, or the ``edge`` that a node keeps.
        kept, rival: the weakest candidate that was kept, and the strongest that was not.
        margin: ``m``; below 0 where something else than the alphas decided: a limit, a target.
        noise: ``t·σ·√T``, the largest margin that chance explains.
    """

    group: str
    row: str
    of: Of
    kept: str
    rival: str
    margin: float
    noise: float

    @property
    def ratio(self) -> float:
        """``margin / noise``."""
        return self.margin / self.noise if self.noise else math.copysign(math.inf, self.margin) if self.margin else 0.0

    @property
    def barely(self) -> bool:
        """Whether chance explains the lead."""
        return 0 <= self.ratio < 1

    def __str__(self) -> str:
        first = f"edge {self.row}" if self.of == "edge" else f"{self.row}: {self.kept}"
        return f"{self.group} {first} or {self.rival}"


@dataclass(frozen=True)
class Decidedness:
    """How decided the choices of a search are; printed, a line that says so.

    Args:
        leads: one for every choice that the genotype keeps something of.
        epochs: ``T``.
        unknown: why it cannot be said; then there are no leads.
    """

    leads: tuple[Lead, ...]
    epochs: int
    unknown: str | None = None

    @property
    def barely(self) -> tuple[Lead, ...]:
        """The choices that chance explains."""
        return tuple(lead for lead in self.leads if lead.barely)

    def of(self, group: str, row: str) -> tuple[Lead, ...]:
        """The leads of a row: of its operation, and of its edge where it is the weakest that a node keeps."""
        return tuple(lead for lead in self.leads if (lead.group, lead.row) == (group, row))

    @property
    def summary(self) -> str:
        """How many are barely decided, or why that is not known."""
        if self.unknown is not None:
            return f"how decided the choices are is not known: {self.unknown}"
        found = len(self.barely)
        return f"{found} of {len(self.leads)} choices {'is' if found == 1 else 'are'} barely decided"

    @property
    def told(self) -> str:
        """`summary`, and what to do."""
        return f"{self.summary}; {ADVICE}" if self.barely else self.summary

    def __str__(self) -> str:
        named = "; ".join(map(str, self.barely[:MOST_NAMED]))
        more = len(self.barely) - MOST_NAMED
        return self.summary + (f" ({named}{f'; and {more} more' if more > 0 else ''})" if named else "")

    def to_dict(self) -> dict[str, Any]:
        """As in ``decidedness.json``."""
        leads = [asdict(lead) | {"barely": lead.barely} for lead in self.leads]
        return {**FORMAT, "epochs": self.epochs, "unknown": self.unknown, "choices": leads}

    @staticmethod
    def from_dict(found: Mapping[str, Any]) -> Decidedness:
        """The inverse of `to_dict`. Raises `Refused` for anything else."""
        try:
            known = found["format"] == FORMAT["format"] and found["version"] == FORMAT["version"]
            fields = [{key: value for key, value in lead.items() if key != "barely"} for lead in found["choices"]]
            result = Decidedness(tuple(Lead(**lead) for lead in fields), int(found["epochs"]), found["unknown"])
            str(result)
        except (KeyError, TypeError, ValueError, AttributeError):
            known = False
        if not known:
            raise Refused("it does not describe how decided the choices of a search are")
        return result


def decidedness(
    history: Sequence[Mapping[str, Any]],
    alphas: Mapping[str, Tensor],
    groups: Sequence[ChoiceGroup],
    relaxation: Relaxation,
    kept: Kept,
) -> Decidedness:
    """How decided every choice is; see the top of this file.

    Args:
        history: the records of the epochs that count, all of the search's last stage, with the ``alphas`` of each.
        alphas: group -> ``[rows, candidates]``, what the selection got of them.
        groups: of the space.
        relaxation: how alphas are read.
        kept: what the selection chose by them, as of `poise.spaces.space.kept_of`.
    """
    names = [group.name for group in groups]
    epochs = {n: torch.tensor([record["alphas"][n] for record in history], dtype=torch.float64) for n in names}
    still = _standing_still(list(epochs.values()))
    count = len(history) - still
    if count < FEWEST:
        few = f"that takes {FEWEST} epochs that train the alphas, and this search had {count}"
        return Decidedness((), count, "the alphas never moved" if still and count == 1 else few)
    moving = {name: values[still:] for name, values in epochs.items()}
    final = {name: alphas[name].detach().cpu().double() for name in names}
    leads: list[Lead] = []
    for group in searchable(groups):
        leads += _operations(group, moving[group.name], final[group.name], kept[group.name])
        before, now = (_strengths(group, groups, values, relaxation) for values in (moving, final))
        leads += _edges(group, before, now, kept[group.name])
    return Decidedness(tuple(leads), count)


def noise(margins: Tensor) -> float:
    """``t·σ·√T`` of ``[epochs]`` margins, at least `FEWEST`."""
    moves = margins.diff()[-math.ceil(len(margins) / 2) :]
    spread = (moves - moves.mean().clamp(min=0)).square().sum().div(len(moves) - 1).sqrt()
    return float(stdtrit(len(moves) - 1, 1 - CHANCE / 2)) * float(spread) * math.sqrt(len(margins))


def _standing_still(epochs: Sequence[Tensor]) -> int:
    """How many epochs at the beginning left all alphas, each ``[epochs, rows, candidates]``, as the next one did."""
    moved = torch.stack([values.diff(dim=0).flatten(1).any(dim=1) for values in epochs]).any(dim=0).tolist()
    return moved.index(True) if True in moved else len(moved)


def _operations(group: ChoiceGroup, moving: Tensor, final: Tensor, kept: Sequence[Sequence[int]]) -> Iterator[Lead]:
    """One lead per row that keeps something. A row that could keep ``none`` and keeps nothing has kept that."""
    for index, (row, own) in enumerate(zip(group.rows, kept, strict=True)):
        allowed = eligible(group, index)
        leader = max(allowed, key=final[index].tolist().__getitem__)
        if not own and row.candidates[leader] == "none":
            own = (leader,)
        scores = moving[:, index], final[index]
        places = _closest(scores[1], own, allowed)
        if places is not None:
            first, second = (row.candidates[place] for place in places)
            yield Lead(group.name, row.name, "operation", first, second, *_measured(*scores, *places))


def _strengths(
    group: ChoiceGroup, groups: Sequence[ChoiceGroup], alphas: Mapping[str, Tensor], relaxation: Relaxation
) -> Tensor:
    """``log(β_e · max_o p[e, o])`` of ``[..., rows, candidates]``: ``[..., rows]``."""
    p = {name: relaxation(values) for name, values in alphas.items()}
    largest = [p[group.name][..., row, eligible(group, row)].amax(dim=-1) for row in range(len(group.rows))]
    strengths = torch.stack(largest, dim=-1)
    weights = row_weights(group, groups, p)
    return (strengths if weights is None else strengths * weights).clamp(min=1e-30).log()


def _edges(group: ChoiceGroup, moving: Tensor, final: Tensor, kept: Sequence[Sequence[int]]) -> Iterator[Lead]:
    """One lead per node of which some incoming rows, ``[..., rows]``, had to go."""
    for node in group.nodes:
        own = [row for row in node if kept[row]]
        places = _closest(final, own, node) if len(own) == group.inputs else None
        if places is not None:
            first, second = (group.rows[place].name for place in places)
            yield Lead(group.name, first, "edge", first, second, *_measured(moving, final, *places))


def _closest(scores: Tensor, kept: Sequence[int], allowed: Sequence[int]) -> tuple[int, int] | None:
    """The weakest that was kept, and the strongest of the others; None if there is not one of each."""
    value = scores.tolist().__getitem__
    others = [place for place in allowed if place not in kept]
    return (min(kept, key=value), max(others, key=value)) if kept and others else None


def _measured(moving: Tensor, final: Tensor, first: int, second: int) -> tuple[float, float]:
    """Margin and noise of two places in scores ``[epochs, places]`` and, of the alphas that count, ``[places]``."""
    return float(final[first] - final[second]), noise(moving[:, first] - moving[:, second])
