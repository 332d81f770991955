"""A search in stages: each begins anew, sees its own epochs alone, and leaves to the next what its alphas keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from engine_support import SINGLE, TASK, batches, searcher, small_supernet
from torch import Tensor, nn

from poise.engine.events import EpochEnded, Noted, Started, Stepped
from poise.engine.schedule import cosine
from poise.engine.search import search
from poise.engine.searcher import Searcher
from poise.engine.settings import SearchSettings
from poise.engine.stages import Searched, Stage, search_in_stages
from poise.errors import Refused
from poise.methods import METHODS, Method, Progressive, RandomSmoothing, SkipGuard, TailAverage
from poise.methods.slots import Progress, Verdict
from poise.spaces import SPACES, NasBench201
from poise.supernet.groups import Mixture

SPACE = NasBench201(4, 1)
CURRICULUM = Progressive(deeper=(0, 0, 1), candidates=(5, 4, 2), skip_rates=(0.1, 0.2, 0.3), warm_up=0.5)
EPOCHS = 7
"""In stages of 3, 2 and 2."""


@dataclass
class Opened:
    """Opens stages of a space, and remembers what it opened, and with which values."""

    method: Method
    space: Any = SPACE
    epochs: int = EPOCHS

    def __post_init__(self) -> None:
        self.searchers: list[Searcher] = []
        self.stages: list[Stage] = []
        self.alphas: list[dict[str, Tensor]] = []

    def __call__(self, stage: Stage) -> Searcher:
        space, groups = self.method.searched(self.space, stage.number, stage.narrowing)
        torch.manual_seed(stage.number)
        supernet = space.supernet(TASK, groups)
        given = SearchSettings(epochs=self.method.curriculum.stages(self.epochs)[stage.number], batch_size=6)
        made = Searcher(
            supernet,
            groups,
            self.method,
            given,
            batches(6, 6, 1),
            batches(6, 6, 2),
            SINGLE,
            0,
            None,
            stage.number,
        )
        self.searchers.append(made)
        self.stages.append(stage)
        self.alphas.append({name: values.detach().clone() for name, values in made.alphas.items()})
        return made


def run(method: Method, heard: list[Any] | None = None, **more: Any) -> tuple[Searched, Opened]:
    opened = Opened(method, **more)
    events: list[Any] = [] if heard is None else heard
    return search_in_stages(opened, method, opened.epochs, events.append), opened


def test_stages_follow_each_other() -> None:
    heard: list[Any] = []
    method = Method(curriculum=CURRICULUM)
    found, opened = run(method, heard)
    assert [record["stage"] for record in found.history] == [0, 0, 0, 1, 1, 2, 2]
    assert [record["epoch"] for record in found.history] == list(range(7)), "numbered through"
    assert [len(record["alphas"]["cell"][0]) for record in found.history] == [5, 5, 5, 4, 4, 2, 2]
    assert [len(made.groups[0].rows[0].candidates) for made in opened.searchers] == [5, 4, 2]
    assert [made.groups[0].layers for made in opened.searchers] == [3, 3, 6]
    rates = [record["learning_rate"] for record in found.history]
    assert rates == [cosine(0.025, 0.001, t, T) for T in (3, 2, 2) for t in range(T)], "each has its own cosine"
    assert found.searcher is opened.searchers[-1]
    assert found.stage == opened.stages[-1]
    for before, after in zip(opened.searchers, opened.stages[1:], strict=False):
        probabilities = {name: torch.softmax(values.detach(), -1) for name, values in before.alphas.items()}
        assert after.narrowing == method.curriculum.keeps(probabilities, before.groups, after.number)
    totals = [event for event in heard if isinstance(event, Started)]
    assert totals == [Started("search", 7, done) for done in (0, 3, 5)]
    assert [event.done for event in heard if isinstance(event, Stepped)] == list(range(1, 8))
    assert [event.message for event in heard if isinstance(event, Noted)] == [
        "stage 2 of 3 begins anew; candidates per row: cell 4 of 5",
        "stage 3 of 3 begins anew; candidates per row: cell 2 of 4",
    ]
    assert sum(isinstance(event, EpochEnded) for event in heard) == 7


def test_warm_up_is_each_stages() -> None:
    found, _ = run(Method(curriculum=CURRICULUM))
    warm = [record["search_loss"] is None for record in found.history]
    assert warm == [True, True, False, True, False, True, False], "round(0.5·3) = 2, round(0.5·2) = 1"


def test_alphas_and_streams_are_anew() -> None:
    """Without any narrowing the stages still draw other alphas, orders and perturbations."""
    method = Method(curriculum=Progressive((0, 0, 0), (5, 5, 5), (0.0, 0.0, 0.0), 0.0))
    _, opened = run(method, epochs=3)
    first, second, third = (alphas["cell"] for alphas in opened.alphas)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert float(torch.cat([first, second, third]).abs().max()) < 0.01, "they begin near zero"


def test_one_stage_is_a_plain_search() -> None:
    space = NasBench201(4, 1)
    for method in (Method(), METHODS["poise"].build()):
        used, groups = method.searched(space)
        found, opened = run(method, space=space, epochs=2)
        torch.manual_seed(0)
        plain = Searcher(
            used.supernet(TASK, groups), groups, method, SearchSettings(epochs=2, batch_size=6), batches(6, 6, 1),
            batches(6, 6, 2), SINGLE, 0,
        )  # fmt: skip
        history = search(plain)
        assert len(opened.searchers) == 1
        for one, other in zip(found.history, history, strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
        for name, values in plain.supernet.state_dict().items():
            assert torch.equal(found.searcher.supernet.state_dict()[name], values), name


class Hearing(nn.Module):
    """A supernet that remembers the rates that it was called with."""

    def __init__(self, heard: list[float]) -> None:
        super().__init__()
        self.inner = small_supernet()
        self.groups = self.inner.groups
        self.heard = heard

    def forward(self, images: Tensor, mixture: Mixture, skip_dropout: float = 0.0) -> Tensor:
        self.heard.append(skip_dropout)
        logits: Tensor = self.inner(images, mixture)
        return logits


def test_the_rate_of_dropout_is_the_curriculums() -> None:
    heard: list[float] = []
    curriculum = Progressive((0, 1), (8, 5), (0.3, 0.6), warm_up=0.5, decay=1.0)
    found = searcher(Method(curriculum=curriculum), supernet=Hearing(heard), count=4, epochs=4)
    found.stage = 1
    search(found)
    rates = [curriculum.skip_dropout(Progress(epoch, 4, 1)) for epoch in range(4)]
    assert rates == pytest.approx([0.45, 0.3, 0.6, 0.6 * torch.e**-0.5])
    # A step is one pass, and two once the alphas move: both losses are under the same rate.
    assert heard == [rates[0], rates[1], rates[2], rates[2], rates[3], rates[3]]


@dataclass(frozen=True)
class Noting:
    """A perturbation and a guard that write down what they are told."""

    progress: list[Progress]
    histories: list[list[int]]
    seeds: list[int]
    kind: ClassVar[str] = "noting"

    def __call__(self, *given: Any) -> Any:
        if len(given) == 1:
            self.histories.append([record["epoch"] for record in given[0]])
            return Verdict(len(given[0]) - 1)
        self.progress.append(given[3])
        self.seeds.append(given[4].seed)
        return given[0]


def test_slots_see_their_stage_alone() -> None:
    noting = Noting([], [], [])
    run(Method(curriculum=CURRICULUM, perturbation=noting, guard=noting))
    assert noting.progress == [Progress(t, T, stage) for stage, T in enumerate((3, 2, 2)) for t in range(T)]
    assert len(set(noting.seeds)) == EPOCHS, "no stage draws what another has drawn"
    assert {history[0] for history in noting.histories} == {0, 3, 5}, "no stage sees another's epochs"
    assert all(history == list(range(history[0], history[-1] + 1)) for history in noting.histories)


def test_the_next_stage_is_what_guard_and_averaging_leave() -> None:
    """The first stage's candidates are dropped by the mean of its last epochs, not by where it happened to end."""
    method = Method(curriculum=CURRICULUM, averaging=TailAverage(1.0), perturbation=RandomSmoothing())
    found, opened = run(method)
    mean = torch.tensor([record["alphas"]["cell"] for record in found.history[:3]], dtype=torch.float64).mean(dim=0)
    expected = method.curriculum.keeps({"cell": torch.softmax(mean.float(), -1)}, opened.searchers[0].groups, 1)
    assert opened.stages[1].narrowing == expected
    stopped = replace(method, averaging=Method().averaging, guard=SkipGuard(limit=0.0, action="stop"))
    history = run(stopped)[0].history
    assert {record["stage"] for record in history} == {0, 1, 2}, "a guard ends a stage, not the search"
    assert [record["epoch"] for record in history] == list(range(len(history)))


def test_a_stage_as_facts() -> None:
    stage = Stage(1, {"cell": {"0->1": ("none", "skip_connect")}})
    assert Stage.of(stage.facts) == stage
    assert Stage.of({"stage": 0, "narrowing": {}}) == Stage()
    for wrong in ({}, {"stage": -1, "narrowing": {}}, {"stage": True, "narrowing": {}}, {"stage": 1, "narrowing": []},
                  {"stage": 1, "narrowing": {"cell": {"0->1": [1]}}}, {"stage": 1.0, "narrowing": {}}):  # fmt: skip
        with pytest.raises(Refused, match="which stage"):
            Stage.of(wrong)


@pytest.mark.parametrize("name", [name for name in SPACES if hasattr(SPACES[name], "narrowed")])
def test_the_preset_runs_on_every_space_that_can_be_narrowed(name: str) -> None:
    sizes = {"channels": 4, "cells": 1 if name == "nasbench201" else 3}
    method = METHODS["p-darts"].build()
    method = replace(method, curriculum=replace(method.curriculum, deeper=(0, 0, 1)))
    found, _ = run(method, space=SPACES[name](**sizes), epochs=3)
    assert [record["stage"] for record in found.history] == [0, 1, 2]
    assert found.searcher.groups[0].shape[1] <= 3
