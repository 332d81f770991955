"""What stays on the device and what does not; and that a recording does what a CUDA graph does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.engine.device_only import DeviceOnly, obstacle
from recorded import Recorder

HERE = torch.ones(2, 3)
MASK = torch.tensor([True, False])
PLACES = torch.tensor([0])

WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "item": (lambda: HERE.sum().item(), "reads numbers back"),
    "bool": (lambda: bool(HERE.sum() > 0), "reads numbers back"),
    "equal": (lambda: torch.equal(HERE, HERE + 1), "reads numbers back"),
    "nonzero": (lambda: HERE.nonzero(), "size depends"),
    "a mask": (lambda: HERE[MASK], "size depends"),
    "assigned by a mask": (lambda: HERE.clone().index_put_((MASK,), HERE[:1]), "size depends"),
    "repeated": (lambda: HERE.repeat_interleave(PLACES.expand(2), 0), "size depends"),
    "drawn": (lambda: torch.rand(2), "draws"),
    "drawn by a generator of its own": (lambda: torch.rand(2, generator=torch.Generator()), "draws"),
    "dropout": (lambda: F.dropout(HERE), "draws"),
    "attention with dropout": (lambda: attention(0.5), "draws"),
    "a list": (lambda: HERE[[1, 0]], "numbers from Python"),
    "a literal": (lambda: HERE * torch.tensor([1.0, 2.0, 3.0]), "numbers from Python"),
    "to another device": (lambda: HERE.to("meta"), "copies between devices"),
}


def attention(dropout: float) -> Tensor:
    values = HERE.expand(1, 1, 2, 3)
    return F.scaled_dot_product_attention(values, values, values, dropout_p=dropout)


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_stay_on_the_device_is_found(case: str) -> None:
    function, reason = WRONG[case]
    with DeviceOnly() as watch:
        function()
    assert any(reason in found for found in watch.found.values())
    assert "test_device_only.py, line" in next(iter(watch.found)), "it says where"
    assert reason in watch.told()


def test_a_whole_step_of_a_network_stays_on_the_device() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.0), nn.Flatten())
    images, labels, rate = torch.randn(2, 3, 4, 4), torch.tensor([0, 1]), torch.tensor(0.1)
    weights = list(network.parameters())
    optimizer = torch.optim.SGD(weights, rate, 0.9, fused=True)
    with DeviceOnly() as watch:
        loss = F.cross_entropy(network(images), labels)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        optimizer.step()
        loss[None][PLACES]  # indices that lie on the device
        attention(0.0)
        torch.zeros(3), torch.full((), 2.0), torch.arange(3, device="cpu"), HERE.to(torch.float64)
    assert watch.found == {}


def test_reading_back_in_a_backward_pass_is_found() -> None:
    class Reads(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(context: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            return gradient * gradient.sum().item()

    leaf = HERE.clone().requires_grad_()
    with DeviceOnly() as watch:
        Reads.apply(leaf).sum().backward()
    assert "reads numbers back" in watch.told()


def test_a_number_of_the_cpu_among_tensors_of_another_device_is_no_copy() -> None:
    assert obstacle(torch.ops.aten.mul.Tensor, (HERE.to("meta"), torch.ones(())), {}) is None
    assert obstacle(torch.ops.aten.mul.Tensor, (HERE.to("meta"), HERE), {}) == "copies between devices"


def moves(weights: Tensor, inputs: Tensor, log: list[str]) -> tuple[Tensor, Tensor]:
    """In place, out of place, through a view, and with Python in between."""
    log.append("Python")
    found = inputs * len(log)
    flat = found.view(-1)
    flat.add_(1.0)
    weights.sub_(found.sum(dim=0))
    return found, flat.max()


def test_a_recording_runs_nothing_and_a_replay_all_of_it_without_python() -> None:
    weights, inputs, log = torch.zeros(3), HERE.clone(), list[str]()
    recorder = Recorder()
    replay, (found, most) = recorder.capture(lambda: moves(weights, inputs, log))
    assert log == ["Python"]
    assert torch.equal(weights, torch.zeros(3)), "nothing has been done yet"
    replay()
    assert torch.equal(weights, torch.full((3,), -4.0))
    inputs.copy_(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    replay()
    assert log == ["Python"]
    assert torch.equal(weights, -4 - torch.tensor([7.0, 9.0, 11.0]))
    assert torch.equal(found, inputs + 1)
    assert float(most) == 7.0
    assert [func._schema.name for func, *_ in recorder.recordings[0].line][:2] == ["aten::mul", "aten::view"]


def test_a_recording_goes_on_with_the_memory_that_it_saw() -> None:
    """As a CUDA graph: whoever binds another tensor to a name is not heard."""
    holder = {"weights": torch.zeros(3)}
    seen = holder["weights"]
    replay, _ = Recorder().capture(lambda: holder["weights"].add_(1.0))
    holder["weights"] = torch.zeros(3)
    replay()
    assert torch.equal(seen, torch.ones(3))
    assert torch.equal(holder["weights"], torch.zeros(3))


def test_a_training_step_replayed_equals_the_step_bit_for_bit() -> None:
    def build() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        return network, torch.optim.Adam(network.parameters(), torch.tensor(0.1), fused=True)

    def step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Tensor:
        weights = list(network.parameters())
        loss = F.cross_entropy(network(images), labels)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.grad = gradient
        optimizer.step()
        return loss.detach()

    data = [(torch.randn(2, 3, 4, 4), torch.randint(0, 4, (2,))) for _ in range(4)]
    plain, replayed = build(), build()
    losses = [step(*plain, *batch) for batch in data]
    images, labels = (values.clone() for values in data[0])
    found = [step(*replayed, images, labels)]
    replay, loss = Recorder().capture(lambda: step(*replayed, images, labels))
    for more in data[1:]:
        images.copy_(more[0])
        labels.copy_(more[1])
        replay()
        found.append(loss.clone())
    assert torch.equal(torch.stack(found), torch.stack(losses))
    for one, other in zip(plain[0].state_dict().values(), replayed[0].state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(losses[0], losses[1])
