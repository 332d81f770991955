"""Dropout on skip connections: against the textbook's cells with the same masks, and where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from poise.engine.device import Place
from poise.engine.loss import BatchLoss
from poise.spaces import Darts, ImageShape, NasBench201
from poise.spaces.cells import MixedCell
from poise.spaces.execution import use
from poise.spaces.nasbench201 import MixedCell as BenchmarkCell
from poise.spaces.normed import Source, take_apart
from poise.spaces.operations import Skip
from poise.supernet.draws import Draws
from poise.supernet.groups import expand
from textbook.supernets import darts_cell, nasbench201_cell, state_of
from textbook.weights import randomise

RATE = 0.3
TASK = ImageShape(3, (6, 6), 4)


def masked(x: Tensor) -> Tensor:
    """Each entry dropped, or divided by what is left, by the next numbers of torch's generator, channels last."""
    batch, channels, height, width = x.shape
    kept = torch.empty(batch, height, width, channels, dtype=torch.bool).bernoulli_(1 - RATE)  # others draw otherwise
    return x * kept.permute(0, 3, 1, 2) / (1 - RATE)


Cell = Callable[[Tensor, Tensor, float], Tensor]
Textbook = Callable[[Tensor, Tensor, Callable[[Tensor], Tensor]], Tensor]


def cell_of(kind: str) -> tuple[nn.Module, Cell, Textbook, int]:
    """A random cell in float64, how it and its textbook are called, and its candidates."""
    if kind == "nasbench201":
        rows = NasBench201().groups[0].rows
        module: nn.Module = randomise(BenchmarkCell(rows, 4))
        use(module, "normed")
        state = {f"it.{name}": value for name, value in state_of(module).items()}
        names = [row.candidates for row in rows]
        return (
            module,
            lambda x, mixture, rate: module(x, mixture, None, rate),
            lambda x, mixture, drop: nasbench201_cell(state, "it", x, mixture, names, True, drop=drop),
            5,
        )
    rows = Darts().groups[0].rows
    reduction = kind == "reduction"
    module = randomise(MixedCell(rows, (4, 4), 4, reduction, False))
    use(module, "normed")
    state = {f"it.{name}": value for name, value in state_of(module).items()}
    names = [row.candidates for row in rows]
    return (
        module,
        lambda x, mixture, rate: module(x, x, mixture, None, rate),
        lambda x, mixture, drop: darts_cell(state, "it", x, x, mixture, names, reduction, False, True, drop=drop),
        8,
    )


@pytest.mark.parametrize("kind", ["normal", "reduction", "nasbench201"])
def test_a_cell_is_the_textbooks_with_the_same_masks(kind: str) -> None:
    module, cell, textbook, candidates = cell_of(kind)
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    mixture = torch.rand(len(list(module.edges.children())), candidates, dtype=torch.float64)  # type: ignore[union-attr]
    mixtures = [mixture.clone().requires_grad_() for _ in range(2)]
    torch.manual_seed(1)
    actual = cell(x, mixtures[0], RATE)
    torch.manual_seed(1)
    expected = textbook(x, mixtures[1], masked)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    upstream = torch.randn_like(expected)
    found = [
        torch.autograd.grad((out * upstream).sum(), leaf)[0]
        for out, leaf in zip((actual, expected), mixtures, strict=True)
    ]
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-8)
    assert not torch.allclose(actual, cell(x, mixtures[0], 0.0)), "it does something"


@pytest.mark.parametrize("kind", ["normal", "reduction", "nasbench201"])
def test_without_it_nothing_is_drawn(kind: str) -> None:
    module, cell, textbook, candidates = cell_of(kind)
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    mixture = torch.rand(len(list(module.edges.children())), candidates, dtype=torch.float64)  # type: ignore[union-attr]
    before = torch.random.get_rng_state()
    torch.testing.assert_close(cell(x, mixture, 0.0), textbook(x, mixture, lambda value: value), rtol=1e-9, atol=1e-9)
    module.eval()
    assert torch.equal(cell(x, mixture, RATE), cell(x, mixture, 0.0)), "there is none in evaluation mode"
    assert torch.equal(torch.random.get_rng_state(), before)


def test_draws_do_not_depend_on_the_mixture() -> None:
    """A skip connection of weight 0 is not skipped where no gradient flows: the later ones see the same masks."""
    _, cell, _, candidates = cell_of("nasbench201")
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    mixture = torch.rand(6, candidates, dtype=torch.float64)
    mixture[:3] *= torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])
    torch.manual_seed(1)
    plain = cell(x, mixture, RATE)
    torch.manual_seed(1)
    torch.testing.assert_close(plain, cell(x, mixture.clone().requires_grad_(), RATE).detach(), rtol=1e-9, atol=1e-9)


def test_what_remains_is_scaled() -> None:
    torch.manual_seed(0)
    part = take_apart(Skip(4, 1, True), Source(torch.ones(8, 4, 32, 32), 1, True, RATE))
    assert part is not None
    values, counts = part.term.feature.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0.0, 1 / (1 - RATE)]))
    assert abs(float(counts[0] / counts.sum()) - RATE) < 0.01


@pytest.mark.parametrize("space", [Darts(4, 3), NasBench201(4, 1)])
def test_a_loss_knows_of_it(space: Darts | NasBench201) -> None:
    """The rate reaches every layer; the same call gives the same number; in evaluation mode there is none."""
    torch.manual_seed(0)
    supernet = space.supernet(TASK)
    images, labels, place = torch.randn(4, 3, 6, 6), torch.arange(4), Place.open("cpu")
    mixture = expand({group.name: torch.softmax(torch.zeros(group.shape), -1) for group in space.groups}, space.groups)

    def loss(rate: float, seed: int = 0) -> BatchLoss:
        return BatchLoss(supernet, images, labels, Draws(seed, place.device), place, rate)

    dropped = loss(RATE)
    assert dropped(mixture) == dropped(mixture) == loss(RATE)(mixture)
    assert len({each(mixture).item() for each in (dropped, loss(RATE, 1), loss(0.0), loss(RATE / 2))}) == 4
    assert dropped.evaluation(mixture) == loss(0.0).evaluation(mixture)

    rates: list[float] = []
    for module in supernet.modules():
        if isinstance(module, (MixedCell, BenchmarkCell)):
            module.register_forward_pre_hook(lambda _, arguments: rates.append(arguments[-2]))
    dropped(mixture)
    assert rates == [RATE] * 3
