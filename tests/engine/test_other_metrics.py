"""Selections and diagnostics by metrics that are no share of hits, and of which lower may be better."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_support import DOUBLE, States, batches, searcher
from torch import Tensor
from torch.nn import functional as F
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.regression import MeanAbsoluteError

from poise.diagnostics.diagnostic import Subject
from poise.diagnostics.discretisation import Discretisation
from poise.engine.checkpointer import Checkpointer
from poise.engine.loop import Sums
from poise.engine.search import SearchTrainer
from poise.engine.searcher import Epoch, Searcher
from poise.engine.trained import TrainedSupernet
from poise.errors import Refused
from poise.methods.slots import Progress
from poise.selection.edits import Edits
from poise.selection.rule import Score
from poise.spaces.custom import ModuleSpace
from poise.supernet.groups import expand
from poise.tasks.classification import OneClass
from poise.tasks.own import OwnObjective


class Distance(MeanAbsoluteError):
    """How far apart the predicted class and the right one are."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        super().update(preds.argmax(1).double(), target)


OWN = OwnObjective(F.cross_entropy, {"distance": Distance(), "accuracy": MulticlassAccuracy(3, average="micro")})


def opened(objective: Any = OWN) -> Searcher:
    found = searcher(place=DOUBLE, count=13)
    found.objective = objective
    return found


def trained(found: Searcher, saver: Checkpointer | None = None) -> TrainedSupernet:
    space, relaxation, saver = ModuleSpace(found.supernet.module), found.method.relaxation, saver or Checkpointer()
    return TrainedSupernet(space, found.groups, found.alphas, relaxation, lambda: found, 0, lambda event: None, saver)


def edits_of(found: Searcher) -> list[Edits]:
    clean = Edits.none(found.groups)
    return [clean, *(clean.drop("shared", 0, candidate) for candidate in range(3))]


def outputs_of(found: Searcher, edits: Edits) -> list[tuple[Tensor, Tensor]]:
    mixture = expand(edits.apply(found.probabilities()), found.groups)
    with torch.no_grad():
        return [(found.supernet(images, mixture), labels) for images, labels in batches(12, 4, 2, DOUBLE).ordered()]


def never(standing: Any) -> Tensor:
    raise AssertionError("nobody can leave: nothing is right or wrong by itself")


def test_a_score_is_better_the_higher_whatever_the_metric() -> None:
    scores = trained(opened()).compare(edits_of(opened()), never)
    for edits, score in zip(edits_of(opened()), scores, strict=True):
        pairs = outputs_of(opened(), edits)
        errors = torch.cat([(outputs.argmax(1) - labels).abs() for outputs, labels in pairs]).double()
        assert score is not None
        assert score.quality == pytest.approx(-float(errors.mean()), rel=1e-12)
        assert score.loss == pytest.approx(float(sum(F.cross_entropy(*pair) for pair in pairs)) / 3, rel=1e-6)


def test_another_metric_is_asked_for_by_its_name() -> None:
    edits = edits_of(opened())
    plain = trained(searcher(place=DOUBLE, count=13)).compare(edits)
    scores = trained(opened()).compare(edits, never, "accuracy")
    for score, expected in zip(scores, plain, strict=True):
        assert score is not None
        assert expected is not None
        assert score.quality == pytest.approx(expected.quality)
        assert score.loss == expected.loss
    with pytest.raises(Refused, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        trained(opened()).compare(edits, None, "acuracy")


def test_without_a_metric_the_loss_counts() -> None:
    scores = trained(opened(OwnObjective(F.cross_entropy))).compare(edits_of(opened()))
    assert all(score is not None and score.quality == -score.loss for score in scores)


def test_what_is_no_number_is_worst() -> None:
    class Nothing(Distance):
        def compute(self) -> Tensor:
            return torch.tensor(float("nan"))

    (score,) = trained(opened(OwnObjective(F.cross_entropy, {"x": Nothing()}))).compare(edits_of(opened())[:1])
    assert score is not None
    assert score.quality == -float("inf")


@pytest.mark.parametrize("metric", [None, "accuracy"])
def test_a_comparison_goes_on_from_wherever_it_stopped(metric: str | None) -> None:
    states, edits = States(), edits_of(opened())
    whole = trained(opened(), states.saver()).compare(edits, None, metric)
    assert len(states.all) == 4
    assert {len(state.get("race", {}).get("meters", {})) for state in states.all} == {4, 0}
    for state in states.all:
        assert trained(opened(), Checkpointer(start=state)).compare(edits, None, metric) == whole
    assert all(isinstance(score, Score) for score in whole)


def test_what_discretisation_costs_is_how_much_worse_it_gets() -> None:
    found = opened()
    numbers = Discretisation()(Subject(found)).numbers
    before, after = numbers["discretisation/distance"], numbers["discretisation/distance_discrete"]
    assert numbers["discretisation/drop"] == after - before != 0
    (score,) = trained(found).compare(edits_of(found)[:1])
    assert score is not None
    assert before == -score.quality
    assert numbers["discretisation/loss"] == pytest.approx(score.loss, rel=1e-6)


def test_the_loss_of_an_epoch_is_that_of_all_it_saw_and_no_mean_of_means() -> None:
    """Batches weigh 1 and 3 here: with weights of classes, or pixels without one, they differ."""
    sums = Sums()
    for loss, weight in ((1.0, 1.0), (5.0, 3.0)):
        sums.add(loss=torch.tensor(loss), loss_weight=torch.tensor(weight), plain=torch.tensor(loss))
    assert (sums.mean("loss"), sums.mean("plain"), sums.mean("nothing")) == (4.0, 3.0, None)
    weights = torch.tensor([8.0, 1.0, 0.25])
    found = opened(OneClass(("a", "b", "c"), class_weights=tuple(weights.tolist())))
    trainer = SearchTrainer(found, lambda number: Epoch(Progress(0, 1), 0.01, ("search", number)))
    sums, seen = Sums(), []
    for number, batch in enumerate(trainer.begin(0, 0)):
        trainer.step(number, batch, sums)
        seen.append(float(weights[batch[1]].sum()))
    assert sums.steps("train_loss_weight").tolist() == seen
    assert len(set(seen)) > 1
    expected = sum(loss * weight for loss, weight in zip(sums.steps("train_loss").tolist(), seen, strict=True))
    assert trainer.record(sums, [])["train_loss"] == pytest.approx(expected / sum(seen))
