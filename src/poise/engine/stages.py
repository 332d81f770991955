"""A search in the stages of its method's curriculum: each has a supernet, alphas and optimizers of its own.

Where the curriculum has one stage this is `poise.engine.search.search`. A checkpoint holds the state of the stage that
it was written in, the records of all epochs so far, and, as the fact ``curriculum``, the stage: so a search goes on
from there as if nothing had happened. Between two stages nothing is lost either: what the next one searches follows
from the records of the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from poise.engine.checkpointer import Checkpointer
from poise.engine.events import Listener, Noted, ignore
from poise.engine.search import search
from poise.engine.searcher import Searcher
from poise.errors import Refused
from poise.methods.method import Method
from poise.supernet.groups import ChoiceGroup, Narrowing, searchable


@dataclass(frozen=True)
class Stage:
    """A stage (0-based) of a search, and what it searches of the space; by default the first."""

    number: int = 0
    narrowing: Narrowing = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """The stage as JSON holds it; `Stage.of` gives it back."""
        return {"stage": self.number, "narrowing": self.narrowing}

    @staticmethod
    def of(facts: Mapping[str, Any]) -> Stage:
        """Raises `Refused` for facts that describe no stage. Whether space and method have it is not looked at."""
        try:
            number, narrowing = facts["stage"], facts["narrowing"]
            rows = {
                str(group): {str(row): tuple(names) for row, names in rows.items()} for group, rows in narrowing.items()
            }
            names = [name for found in rows.values() for candidates in found.values() for name in candidates]
            well = type(number) is int and number >= 0 and all(isinstance(name, str) for name in names)
        except (KeyError, TypeError, AttributeError):
            well = False
        if not well:
            raise Refused("it does not say which stage of the search it is of, and what is left of the space there")
        return Stage(number, rows)

    def next(self, method: Method, groups: Sequence[ChoiceGroup], alphas: Mapping[str, Tensor]) -> Stage:
        """The stage after this one, by the alphas, group -> ``[rows, candidates]``, that this one ended with."""
        probabilities = {name: method.relaxation(values.detach().cpu()) for name, values in alphas.items()}
        return Stage(self.number + 1, method.curriculum.keeps(probabilities, groups, self.number + 1))


def first_of(space: Any, method: Method, epochs: int) -> tuple[Any, tuple[ChoiceGroup, ...]]:
    """What the first stage searches of a space, see `Method.searched`. Raises `Refused` if the slots make no sense on
    what any stage searches; of what a later one has left, a guess stands in: what equal alphas keep."""
    stage = Stage()
    first, groups = method.searched(space)
    left = groups
    method.check(left, epochs)
    while stage.number + 1 < len(method.curriculum.stages(epochs)):
        stage = stage.next(method, left, {group.name: torch.zeros(group.shape) for group in left})
        _, left = method.searched(space, stage.number, stage.narrowing)
        method.check(left, epochs)
    return first, groups


@dataclass(frozen=True)
class Searched:
    """What is left after the last stage: its searcher, and the records of the epochs of all stages."""

    searcher: Searcher
    stage: Stage
    history: list[dict[str, Any]]


def search_in_stages(
    begin: Callable[[Stage], Searcher],
    method: Method,
    epochs: int,
    listen: Listener = ignore,
    saver: Checkpointer | None = None,
    rate: float = 1.0,
    diagnose: Callable[[Searcher], Mapping[str, float]] = lambda searcher: {},
    around: Callable[[Searcher], AbstractContextManager[None]] = lambda searcher: nullcontext(),
) -> Searched:
    """Run all stages, or what is left of them after the saver's start.

    Args:
        begin: opens the searcher of a stage, at its beginning.
        method: whose curriculum has the stages.
        epochs: of all stages.
        listen, saver, rate, diagnose: as in `search`.
        around: a context for the search of a stage.
    """
    saver = saver or Checkpointer()
    lengths, history = method.curriculum.stages(epochs), saver.history
    stage = Stage.of(saver.facts["curriculum"]) if "curriculum" in saver.facts else Stage()
    while True:
        before = sum(record.get("stage", stage.number) < stage.number for record in history)
        more = {"stage": stage.number} if len(lengths) > 1 else {}

        def measure(searcher: Searcher, more: Mapping[str, float] = more) -> Mapping[str, float]:
            return {**diagnose(searcher), **more}

        saver.facts["curriculum"] = stage.facts
        searcher = begin(stage)
        with around(searcher):
            search(searcher, listen, saver, rate, measure, before, sum(lengths))
        if stage.number + 1 == len(lengths):
            return Searched(searcher, stage, history)
        stage = stage.next(method, searcher.groups, searcher.alphas)
        left = {name: len(next(iter(rows.values()))) for name, rows in stage.narrowing.items()}
        told = ", ".join(
            f"{group.name} {left[group.name]} of {group.shape[1]}" for group in searchable(searcher.groups)
        )
        listen(Noted(f"stage {stage.number + 1} of {len(lengths)} begins anew; candidates per row: {told}"))
