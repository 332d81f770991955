"""The learning rate of a retraining by hand, and label smoothing against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from engine_support import SINGLE, batches
from torch import Tensor, nn

from poise.engine.schedule import learning_rate
from poise.engine.settings import TrainSettings
from poise.engine.train import Forward, train
from poise.supernet.draws import Draws


def settings(**given: Any) -> TrainSettings:
    weights = {"learning_rate": 0.5, "final_learning_rate": given.pop("final", 0.0)}
    return TrainSettings(epochs=10, weights=weights, drop_path=0, auxiliary=0, **given)  # type: ignore[arg-type]


def rates(**given: Any) -> list[float]:
    return [learning_rate(settings(**given), epoch) for epoch in range(10)]


def test_linear_by_hand() -> None:
    assert rates(schedule="linear") == pytest.approx([0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05])
    assert rates(schedule="linear", final=0.1)[5] == pytest.approx(0.3)


def test_cosine_is_the_default() -> None:
    expected = [0.25 * (1 + math.cos(math.pi * epoch / 10)) for epoch in range(10)]
    assert rates() == rates(schedule="cosine") == pytest.approx(expected)


def test_exponential_is_one_factor_per_epoch() -> None:
    """DARTS's own for ImageNet: times 0.97 after every epoch."""
    found = rates(schedule="exponential", final=0.5 * 0.97**10)
    assert found == pytest.approx([0.5 * 0.97**epoch for epoch in range(10)])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_warm_up_by_hand(schedule: str) -> None:
    """A fifth more with every epoch; from then on the schedule, as if it had been so from the start."""
    found = rates(schedule=schedule, warm_up=5)
    assert found[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found[5:] == rates(schedule=schedule)[5:]


def test_training_follows_it_and_says_so() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(3, 3)

        def forward(self, images: Tensor) -> Tensor:
            return self.classifier(images.mean(dim=(2, 3)))

    chosen = settings(schedule="linear", warm_up=3).model_copy(update={"batch_size": 4})
    torch.manual_seed(0)
    history = train(Plain(), chosen, batches(), SINGLE, 0)
    assert [record["learning_rate"] for record in history] == [learning_rate(chosen, epoch) for epoch in range(10)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"schedule": "step"}, "Input should be"),
        ({"schedule": "exponential"}, "final_learning_rate"),
        ({"warm_up": -1}, "Input should be"),
        ({"warm_up": 10}, r"10 epochs are not more than train\.warm_up, 10"),
    ],
)
def test_senseless_schedules_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**wrong)


def test_label_smoothing_is_a_share_of_the_target_for_all_classes() -> None:
    """``−Σ_k q_k log p_k`` with ``q = (1 − ε)·onehot + ε/K``, also for the auxiliary head; 0.1 in the papers."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 5), nn.Linear(4, 5)

        paths = 0

        def heads(self, images: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
            return self.first(images), self.second(images)

    torch.manual_seed(0)
    network, images, labels = Two(), torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 4, 0])
    chosen = TrainSettings(label_smoothing=0.1, auxiliary=0.4)
    logits, loss, total = Forward(network, chosen, SINGLE)(images, labels, 0.0, Draws(0, SINGLE.device))
    target = torch.full((6, 5), 0.1 / 5)
    target[torch.arange(6), labels] += 0.9

    def smoothed(scores: Tensor) -> Tensor:
        return -(target * scores.log_softmax(dim=1)).sum(dim=1).mean()

    torch.testing.assert_close(loss, smoothed(network.first(images)))
    torch.testing.assert_close(total, loss + 0.4 * smoothed(network.second(images)))
    assert torch.equal(logits, network.first(images))
