"""Losses and metrics of the tasks: cases computed by hand, and torchmetrics or scikit-learn on random ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from objectives_support import NAMES, Case, draw, in_parts, masks, whole
from sklearn.metrics import average_precision_score, balanced_accuracy_score
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassJaccardIndex,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)  # fmt: skip
from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score
from torchmetrics.segmentation import MeanIoU

from poise.engine.objective import CrossEntropy, Metric, measured
from poise.errors import Refused
from poise.tasks.classification import OneClass, balanced
from poise.tasks.multilabel import BinaryCrossEntropy
from poise.tasks.multilabel import balanced as balanced_positives
from poise.tasks.own import OwnObjective, described
from poise.tasks.regression import Standardised
from poise.tasks.segmentation import PixelCrossEntropy


def doubles(*rows: Any) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# --- one class ---------------------------------------------------------------------------------------------------


def test_weighted_cross_entropy_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/4 of class 0, and 1/8, 1/8, 3/4 of class 1, with weights 3 and 1."""
    outputs, targets = doubles([0.5, 0.25, 0.25], [0.125, 0.125, 0.75]).log(), torch.tensor([0, 1])
    found = OneClass(("a", "b", "c"), class_weights=(3.0, 1.0, 9.0))
    assert float(found.loss(outputs, targets)) == pytest.approx((3 * math.log(2) + math.log(8)) / 4)
    assert float(found.count(targets)) == 4


def test_balanced_weights_by_hand() -> None:
    assert balanced((6, 2, 1)) == (9 / 18, 9 / 6, 9 / 3)
    assert balanced((6, 0, 2)) == (8 / 18, 1.0, 8 / 6)


def test_accuracies_by_hand() -> None:
    """Class 0: two of three right; class 1: none of one; class 2 is predicted, but not there."""
    outputs, targets = torch.eye(3)[[0, 0, 2, 0]], torch.tensor([0, 0, 0, 1])
    found = measured([(outputs, targets)], OneClass(("a", "b", "c")))
    del found["loss"]
    assert found == {"accuracy": 0.5, "balanced_accuracy": 1 / 3, "accuracy/a": 2 / 3, "accuracy/b": 0.0}


def test_the_five_likeliest_classes_by_hand() -> None:
    outputs = torch.arange(7.0).expand(3, 7)
    found = measured([(outputs, torch.tensor([6, 2, 1]))], OneClass(NAMES))
    assert (found["accuracy"], found["top5_accuracy"]) == (1 / 3, 2 / 3)
    assert "top5_accuracy" not in measured([(outputs[:, :5], torch.tensor([0, 2, 1]))], OneClass(NAMES[:5]))


def test_without_weights_it_is_cross_entropy_to_the_bit() -> None:
    outputs, targets = draw(11, 7).float(), whole(7, 11)
    assert torch.equal(OneClass(NAMES, 0.1).loss(outputs, targets), CrossEntropy(0.1).loss(outputs, targets))
    for kind in ("running", "meter"):
        old, new = getattr(CrossEntropy(), kind)(), getattr(OneClass(NAMES), kind)()
        for meter in (old, new):
            meter.update(outputs, targets)
        assert old.compute()["accuracy"] == new.compute()["accuracy"]


def test_accuracies_are_those_of_torchmetrics() -> None:
    outputs, targets = draw(300, 7), whole(7, 300)
    found = measured([(outputs, targets)], OneClass(NAMES))
    expected = {
        "accuracy": MulticlassAccuracy(7, average="micro"),
        "top5_accuracy": MulticlassAccuracy(7, top_k=5, average="micro"),
        "balanced_accuracy": MulticlassAccuracy(7, average="macro"),
    }
    assert {name: found[name] for name in expected} == pytest.approx(
        {name: float(metric(outputs, targets)) for name, metric in expected.items()}
    )
    each = MulticlassAccuracy(7, average="none")(outputs, targets).tolist()
    assert [found[f"accuracy/{name}"] for name in NAMES] == pytest.approx(each)
    rare = targets.clamp(max=4)  # classes that are predicted, but never there
    found = measured([(outputs, rare)], OneClass(NAMES))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(rare, outputs.argmax(1)))


# --- sets of classes ---------------------------------------------------------------------------------------------


def test_binary_cross_entropy_by_hand() -> None:
    """Probabilities 1/4 and 3/4 of classes that are there and not: ``w·log 4`` and ``log 4``."""
    outputs, targets = doubles([0.25, 0.75]).logit(), doubles([1, 0])
    names = ("a", "b")
    assert float(BinaryCrossEntropy(names).loss(outputs, targets)) == pytest.approx(math.log(4))
    weighted = BinaryCrossEntropy(names, positive_weights=(5.0, 7.0)).loss(outputs, targets)
    assert float(weighted) == pytest.approx((5 * math.log(4) + math.log(4)) / 2)
    smoothed = BinaryCrossEntropy(("a",), label_smoothing=0.2).loss(outputs[:, :1], targets[:, :1])
    assert float(smoothed) == pytest.approx(0.9 * math.log(4) + 0.1 * math.log(4 / 3))


def test_positive_weights_by_hand() -> None:
    assert balanced_positives((2, 5, 0, 10), (8, 5, 10, 0)) == (4.0, 1.0, 1.0, 1.0)


def test_average_precision_and_f1_by_hand() -> None:
    """Class a is ranked right, wrong, right: AP = (1 + 2/3) / 2; b wrong, right: 1/2; c is never there.

    At 0.5 a has 2 hits, 1 false alarm and no miss: F1 = 4/5; b 1 hit and 1 false alarm: 2/3; c one false alarm: 0.
    """
    outputs = doubles([3, 2, 1], [2, 1, -1], [1, -1, -1])
    targets = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    found = measured([(outputs, targets)], BinaryCrossEntropy(("a", "b", "c")))
    assert found["mean_average_precision"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert found["f1_micro"] == pytest.approx(2 * 3 / (2 * 3 + 3))
    assert found["f1_macro"] == pytest.approx((4 / 5 + 2 / 3 + 0) / 3)


def test_logits_between_0_and_1_are_no_probabilities() -> None:
    """A batch of them by itself would be taken for probabilities: 0.1 would be no prediction."""
    outputs, targets = torch.full((2, 2), 0.1), torch.ones(2, 2)
    assert measured([(outputs, targets)], BinaryCrossEntropy(("a", "b")))["f1_micro"] == 1.0


def test_metrics_of_sets_are_those_of_torchmetrics_and_scikit_learn() -> None:
    outputs, targets = draw(200, 5), whole(2, 200, 5)
    found = measured([(outputs, targets.float())], BinaryCrossEntropy(NAMES[:5]))
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(targets, outputs))
    expected = {
        "mean_average_precision": MultilabelAveragePrecision(5),
        "f1_micro": MultilabelF1Score(5, average="micro"),
        "f1_macro": MultilabelF1Score(5, average="macro"),
    }
    assert {name: found[name] for name in expected} == pytest.approx(
        {name: float(metric(outputs, targets)) for name, metric in expected.items()}
    )


# --- numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "loss"), [("mse", (9 + 0.25) / 2), ("mae", 3.5 / 2), ("huber", (2.5 + 0.125) / 2)])
def test_losses_of_numbers_by_hand(form: Any, loss: float) -> None:
    """Mean 10, deviation 2: targets 14 and 9 are 2 and −½; outputs −1 and 0 are off by 3 and ½."""
    objective = Standardised(("x",), (10.0,), (2.0,), form)
    for outputs, targets in ((doubles(-1, 0), doubles([14], [9])), (doubles([-1], [0]), doubles(14, 9))):
        assert float(objective.loss(outputs, targets)) == pytest.approx(loss)


def test_metrics_of_numbers_by_hand() -> None:
    """In own units outputs are 8 and 10, targets 14 and 9: errors 6 and 1, deviations from the mean 2.5 each."""
    found = measured([(doubles(-1, 0), doubles([14], [9]))], Standardised(("x",), (10.0,), (2.0,)))
    assert found["r2"] == pytest.approx(1 - 37 / 12.5)
    assert found["mae"] == pytest.approx(3.5)
    assert found["rmse"] == pytest.approx(math.sqrt(18.5))
    assert math.isnan(measured([(doubles(-1), doubles([14]))], Standardised(("x",), (10.0,), (2.0,)))["r2"])


def test_metrics_of_numbers_are_those_of_torchmetrics() -> None:
    mean, std = (5.0, -100.0), (2.0, 30.0)
    targets = draw(50, 2, seed=1) * doubles(*std) + doubles(*mean)
    outputs = draw(50, 2)
    own = outputs * doubles(*std) + doubles(*mean)
    found = measured([(outputs, targets)], Standardised(("x", "y"), mean, std))
    assert found["r2"] == pytest.approx(float(R2Score()(own, targets)), rel=1e-6)
    assert found["mae"] == pytest.approx(float(MeanAbsoluteError()(own, targets)), rel=1e-6)
    assert found["rmse"] == pytest.approx(float(MeanSquaredError(squared=False)(own, targets)), rel=1e-6)
    for index, name in enumerate("xy"):
        each = own[:, index], targets[:, index]
        assert found[f"r2/{name}"] == pytest.approx(float(R2Score()(*each)), rel=1e-6)
        assert found[f"mae/{name}"] == pytest.approx(float(MeanAbsoluteError()(*each)), rel=1e-6)
        assert found[f"rmse/{name}"] == pytest.approx(float(MeanSquaredError(squared=False)(*each)), rel=1e-6)


@pytest.mark.parametrize("form", ["mse", "mae", "huber"])
@pytest.mark.parametrize(
    ("factor", "shift", "exact"), [(2.0**20, 0.0, True), (1000.0, 273.15, False), (1e-6, 0, False)]
)
def test_units_change_nothing_but_the_numbers_in_own_units(form: Any, factor: float, shift: float, exact: bool) -> None:
    outputs, targets = draw(40, 1).requires_grad_(), draw(40, 1, seed=1)

    def found(targets: Tensor) -> tuple[dict[str, float], Tensor]:
        mean, std = (float(value) for value in (targets.mean(), targets.std()))
        objective = Standardised(("x",), (mean,), (std,), form)
        (gradient,) = torch.autograd.grad(objective.loss(outputs, targets), [outputs])
        return measured([(outputs, targets)], objective), gradient

    (before, gradient), (after, other) = found(targets), found(targets * factor + shift)
    within = {"rel": 0, "abs": 0} if exact else {"rel": 1e-9}
    for name, times in {"loss": 1, "r2": 1, "mae": factor, "rmse": factor}.items():
        assert after[name] == pytest.approx(before[name] * times, **within)
    assert torch.equal(other, gradient) if exact else torch.allclose(other, gradient, rtol=1e-9)


def test_a_large_mean_costs_no_digits() -> None:
    """In float32 the mean of such numbers cannot even be written, and their squares hold no trace of their variance."""
    mean = 2.0**23 + 49.5
    targets = (2.0**23 + torch.arange(100.0)).reshape(-1, 1)
    outputs = ((targets.double() - mean) / 30).float() + 0.01
    found = measured([(outputs, targets)], Standardised(("x",), (mean + 0.25,), (30.0,)))
    assert found["r2"] == pytest.approx(1 - 100 * 0.55**2 / 83325, rel=1e-6)
    assert found["rmse"] == pytest.approx(0.55, rel=1e-5)


# --- a class per pixel -------------------------------------------------------------------------------------------


def test_cross_entropy_of_pixels_by_hand() -> None:
    """Three pixels with probabilities 1/2 and 1/4 of their class, and one that does not count."""
    outputs = doubles([[[0.5, 0.75, 0.9]], [[0.5, 0.25, 0.1]]]).log()
    targets = torch.tensor([[[0, 1, 255]]])
    found = PixelCrossEntropy(("a", "b"))
    assert float(found.loss(outputs, targets)) == pytest.approx((math.log(2) + math.log(4)) / 2)
    other = PixelCrossEntropy(("a", "b"), ignore_index=0).loss(outputs, targets.clamp(max=1))
    assert float(other) == pytest.approx((math.log(4) + math.log(10)) / 2)


def test_dice_by_hand() -> None:
    """Class a: overlap 1/2, sums 5/4 and 1; b: overlap 1/4, sums 3/4 and 1; the pixel that does not count is left out.

    ``D = 1 − ((1 + 1)/(9/4 + 1) + (1/2 + 1)/(7/4 + 1)) / 2``
    """
    outputs = doubles([[[0.5, 0.75, 0.9]], [[0.5, 0.25, 0.1]]]).log()
    targets = torch.tensor([[[0, 1, 255]]])
    plain, dice = (PixelCrossEntropy(("a", "b"), dice=dice).loss(outputs, targets) for dice in (0.0, 3.0))
    assert float(dice - plain) == pytest.approx(3 * (1 - (2 / 3.25 + 1.5 / 2.75) / 2))


@pytest.mark.parametrize("dice", [0.0, 1.0])
def test_a_batch_in_which_nothing_counts_has_loss_0(dice: float) -> None:
    outputs, targets = draw(2, 3, 4, 4).requires_grad_(), torch.full((2, 4, 4), 255)
    loss = PixelCrossEntropy(NAMES[:3], dice=dice).loss(outputs, targets)
    (gradient,) = torch.autograd.grad(loss, [outputs])
    assert float(loss.detach()) == 0
    assert not gradient.any()


def test_intersections_by_hand() -> None:
    """Over two images: a has 2 hits of 4 pixels in its union, b 1 of 3; c is predicted once and never there; d neither.

    Hits are 3 of 5 pixels that count.
    """
    predicted, there = [0, 0, 0, 1, 2, 3], [0, 0, 1, 1, 0, 255]
    outputs = torch.eye(4)[predicted].T.reshape(1, 4, 2, 3)
    found = measured([(outputs, torch.tensor(there).reshape(1, 2, 3))], PixelCrossEntropy(("a", "b", "c", "d")))
    assert found["mean_iou"] == pytest.approx((2 / 4 + 1 / 2 + 0) / 3)
    assert found["pixel_accuracy"] == 3 / 5


@pytest.mark.parametrize("ignore", [255, 0])
def test_metrics_of_pixels_are_those_of_torchmetrics(ignore: int) -> None:
    outputs, targets = draw(11, 3, 4, 5), masks() if ignore == 255 else whole(3, 11, 4, 5)
    found = measured([(outputs, targets)], PixelCrossEntropy(NAMES[:3], ignore_index=ignore))
    accuracy = MulticlassAccuracy(3, average="micro", ignore_index=ignore)
    assert found["pixel_accuracy"] == pytest.approx(float(accuracy(outputs, targets)))
    if ignore == 255:  # torchmetrics leaves the class that is ignored out of the mean
        assert found["mean_iou"] == pytest.approx(float(MulticlassJaccardIndex(3, ignore_index=255)(outputs, targets)))
    plain = F.cross_entropy(outputs, targets, ignore_index=ignore)
    assert found["loss"] == pytest.approx(float(plain), rel=1e-12)


# --- one's own ---------------------------------------------------------------------------------------------------


def test_a_loss_of_ones_own_may_give_one_number_per_sample() -> None:
    outputs, targets = draw(11, 1), draw(11, 1, seed=1)

    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().flatten()

    for function in (each, nn.MSELoss()):
        case = Case(OwnObjective(function, {"mae": MeanAbsoluteError()}), outputs, targets)
        found = in_parts(case)
        assert found["loss"] == pytest.approx(float((outputs - targets).square().mean()), rel=1e-12)
        assert found["mae"] == pytest.approx(float((outputs - targets).abs().mean()), rel=1e-12)


def test_metrics_of_ones_own_say_what_is_better() -> None:
    assert described("iou", MulticlassJaccardIndex(3)) == Metric("iou", True, share=True)
    assert OwnObjective(nn.MSELoss(), {"mae": MeanAbsoluteError()}).metric == Metric("mae", False)
    assert OwnObjective(nn.MSELoss()).metric == Metric("loss", False)

    class Silent(MeanAbsoluteError):
        higher_is_better = None

    with pytest.raises(Refused, match=r"'x' \(Silent\) does not say what is better"):
        described("x", Silent())


def test_outputs_that_a_loss_or_metric_of_ones_own_does_not_take_are_refused() -> None:
    outputs, targets = draw(4, 2), draw(4, 2, seed=1)
    with pytest.raises(Refused, match=r"expected what the loss takes \(ZeroDivisionError"):
        OwnObjective(lambda outputs, targets: outputs / (1 // 0)).check(outputs, targets)
    with pytest.raises(Refused, match=r"expected a loss that is a tensor \[\] or \[4\], got \[4, 2\]"):
        OwnObjective(torch.sub).check(outputs, targets)
    with pytest.raises(Refused, match="expected what metric 'iou' takes"):
        OwnObjective(nn.MSELoss(), {"iou": MeanIoU(3)}).check(outputs, targets)
