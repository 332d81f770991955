"""What outputs are judged by: cross-entropy by hand, batches of unequal size, and an objective of one's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from engine_support import DOUBLE, batches, searcher
from torch import Tensor, nn

from poise.engine.objective import CrossEntropy, measured
from poise.engine.search import search
from poise.engine.searcher import Searcher
from poise.engine.settings import TrainSettings
from poise.engine.train import evaluate, train
from poise.workflow.search import clone


def test_cross_entropy_by_hand() -> None:
    """Two rows of three classes with probabilities 1/2, 1/4, 1/4 and 1/8, 1/8, 3/4."""
    outputs = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]], dtype=torch.float64).log()
    targets = torch.tensor([0, 1])
    found = CrossEntropy()
    assert float(found.loss(outputs, targets)) == pytest.approx((math.log(2) + math.log(8)) / 2)
    assert float(found.loss(outputs, targets, "sum")) == pytest.approx(math.log(2) + math.log(8))
    assert found.hits(outputs, targets).tolist() == [True, False]
    smoothed = 0.7 * math.log(2) + 0.3 * (math.log(2) + 2 * math.log(4)) / 3
    assert float(CrossEntropy(0.3).loss(outputs[:1], targets[:1])) == pytest.approx(smoothed)


def test_batches_of_unequal_size_measure_as_all_at_once() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(11, 4, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 4, (11,), generator=generator)
    whole = measured([(outputs, targets)])
    parts = measured(zip(outputs.split([5, 1, 5]), targets.split([5, 1, 5]), strict=True))
    assert parts == pytest.approx(whole)
    assert whole["accuracy"] == float((outputs.argmax(1) == targets).double().mean())


@dataclass(frozen=True)
class Tenfold(CrossEntropy):
    """Ten times the cross-entropy, and nothing is ever right."""

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Any = "mean") -> Tensor:
        return 10 * super().loss(outputs, targets, reduction)

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return targets < 0


def test_a_search_goes_by_the_objective_that_it_is_given() -> None:
    plain = searcher(place=DOUBLE, size=12, epochs=1)
    found = Searcher(
        clone(plain).supernet, plain.groups, plain.method, plain.settings, plain.training, plain.searching, DOUBLE, 0,
        objective=Tenfold(),
    )  # fmt: skip
    record = search(clone(found))[0]
    expected = search(plain)[0]
    assert record["search_loss"] == pytest.approx(10 * expected["search_loss"])
    assert record["train_accuracy"] == record["search_accuracy"] == 0 < expected["search_accuracy"]


def test_a_training_and_its_test_do_too() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(3, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.classifier(images.mean(dim=(2, 3)))

    form = TrainSettings(epochs=1, batch_size=12, drop_path=0, auxiliary=0)
    losses = []
    for objective in (None, Tenfold()):
        torch.manual_seed(0)
        network = Plain()
        losses.append(train(network, form, batches(12, 12, 0, DOUBLE), DOUBLE, 0, objective=objective)[0])
    assert losses[1]["train_loss"] == pytest.approx(10 * losses[0]["train_loss"])
    assert losses[1]["train_accuracy"] == 0
    one, ten = (evaluate(network, batches(place=DOUBLE), DOUBLE, *more) for more in ((), (Tenfold(),)))
    assert ten == {"accuracy": 0, "loss": pytest.approx(10 * one["loss"])}
