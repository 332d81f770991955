"""Metrics of torchmetrics as meters: numbers without noise, states that nest, nothing that a copy shares."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import BinaryAccuracy
from torchmetrics.regression import MeanAbsoluteError, SpearmanCorrCoef
from torchmetrics.wrappers import LambdaInputTransformer, MinMaxMetric

from poise.engine.checkpoint import decode, encode
from poise.engine.meters import TorchMeter, number
from poise.errors import Refused


def test_shares_are_read_without_the_noise_of_float32() -> None:
    meter = TorchMeter({"accuracy": BinaryAccuracy(validate_args=False)})
    meter.update(torch.full((10,), 0.9), torch.arange(10).clamp(max=1))
    assert meter.compute() == {"accuracy": 0.9}
    assert number(torch.tensor(1 / 3, dtype=torch.float64), "x") == 1 / 3
    assert number(torch.tensor(3), "x") == 3.0


def test_many_small_numbers_add_up_in_double() -> None:
    meter = TorchMeter({"mae": MeanAbsoluteError()}, lambda outputs, targets: (outputs.double(), targets.double()))
    meter.update(torch.tensor([2.0**25]), torch.tensor([0.0]))
    for _ in range(3):
        meter.update(torch.tensor([1.0]), torch.tensor([0.0]))
    assert meter.compute() == {"mae": (2**25 + 3) / 4}


@pytest.mark.parametrize(
    "metric", [SpearmanCorrCoef(), LambdaInputTransformer(MeanAbsoluteError(), torch.exp)], ids=["lists", "wrapped"]
)
def test_lists_and_wrapped_metrics_are_saved_too(metric: Metric) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [tuple(torch.randn(count, generator=generator) for _ in range(2)) for count in (5, 2, 4)]
    straight, stopped, resumed = (TorchMeter({"x": metric}) for _ in range(3))
    for batch in batches:
        straight.update(*batch)
    for batch in batches[:2]:
        stopped.update(*batch)
    resumed.restore(decode(encode({"meter": stopped.state()}))["meter"])
    resumed.update(*batches[2])
    assert resumed.compute() == straight.compute() != stopped.compute()
    assert metric.update_count == 0, "the metric that was given is left alone"


def test_a_metric_of_several_numbers_is_refused() -> None:
    meter = TorchMeter({"range": MinMaxMetric(BinaryAccuracy())})
    meter.update(torch.tensor([0.9]), torch.tensor([1]))
    with pytest.raises(Refused, match="'range' must give a single number; got a dict"):
        meter.compute()
    meter = TorchMeter({"each": MeanAbsoluteError(num_outputs=2)})
    meter.update(torch.ones(3, 2), torch.ones(3, 2))
    with pytest.raises(Refused, match=r"'each' must give a single number; got numbers of shape \[2\]"):
        meter.compute()


def test_outputs_keep_no_graph() -> None:
    seen: list[Tensor] = []

    def prepare(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        seen.append(outputs)
        return outputs, targets

    meter = TorchMeter({"rank": SpearmanCorrCoef()}, prepare)
    meter.update(torch.randn(3, requires_grad=True), torch.randn(3))
    assert not seen[0].requires_grad
