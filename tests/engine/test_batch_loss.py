"""The loss of one batch: a function. What it draws, tracks and leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_support import DOUBLE, SINGLE, TASK, batches, same, small_supernet
from torch import Tensor, nn
from torch.nn import functional as F

from poise.engine.device import Place
from poise.engine.loss import BatchLoss
from poise.engine.objective import CLASSES, HitMeter
from poise.engine.streams import seed_of, seeded, stream
from poise.methods import (
    AdversarialSmoothing,
    ExactAdversarialSmoothing,
    FirstOrder,
    LayerAlignment,
    Sigmoid,
    Softmax,
    Unrolled,
)
from poise.methods.slots import Descent, Progress
from poise.spaces import S4, Darts, Mobile, NasBench1Shot1Space1, NasBench201
from poise.spaces.execution import use
from poise.spaces.random_numbers import only_given
from poise.supernet.draws import Draws, takes_draws
from poise.supernet.groups import expand


def mixture_of(supernet: Any, dtype: torch.dtype = torch.float32, seed: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return expand(
        {g.name: torch.rand(g.shape, generator=generator).softmax(-1).to(dtype) for g in supernet.groups},
        supernet.groups,
    )


def batch_loss(supernet: Any, place: Any = SINGLE, seed: int = 5) -> BatchLoss:
    place.put(supernet).train()
    images, labels = next(iter(batches(place=place).ordered()))
    return BatchLoss(supernet, images, labels, Draws(seed, place.device), place)


def buffers_of(supernet: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in supernet.named_buffers()}


STOCHASTIC = {"dropout": lambda: small_supernet(dropout=0.5), "noise": lambda: S4(2, 3).supernet(TASK)}


@pytest.mark.parametrize("kind", STOCHASTIC)
def test_called_twice_it_returns_the_same_number(kind: str) -> None:
    supernet = STOCHASTIC[kind]()
    loss = batch_loss(supernet)
    mixture = mixture_of(supernet)
    state = torch.random.get_rng_state()
    first = loss(mixture)
    torch.rand(3)
    tracked = loss(mixture, track=True)
    assert torch.equal(first, loss(mixture))
    assert torch.equal(first, tracked)
    assert torch.equal(loss(mixture, dict(supernet.named_parameters())), first)
    assert torch.equal(loss.evaluation(mixture), loss.evaluation(mixture))
    torch.random.set_rng_state(state)
    loss(mixture)
    assert torch.equal(torch.random.get_rng_state(), state), "torch's own stream does not notice"
    images, labels = next(iter(batches().ordered()))
    other = BatchLoss(supernet, images, labels, Draws(6, SINGLE.device), SINGLE)
    assert not torch.equal(other(mixture), first), "another seed draws other numbers"


OWN: dict[str, tuple[Any, float]] = {
    "s4": (S4(2, 3), 0.0),
    "darts": (Darts(2, 3), 0.3),
    "nasbench201": (NasBench201(2, 1), 0.3),
    "1shot1": (NasBench1Shot1Space1(2, 3), 0.0),
    "mobile": (Mobile(8), 0.0),
}
"""Spaces of poise's own, and rates of dropout on skip connections."""


@pytest.mark.parametrize("execution", ["normed", "stacked"])
@pytest.mark.parametrize("kind", OWN)
def test_poises_own_supernets_draw_from_what_they_are_given(
    kind: str, execution: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No generator of torch is seeded, nor drawn from; and what was drawn can be drawn anew, in the same memory."""
    space, rate = OWN[kind]
    supernet = space.supernet(TASK)
    use(supernet, execution)
    SINGLE.put(supernet).train()
    images, labels = next(iter(batches().ordered()))
    mixture = mixture_of(supernet)
    monkeypatch.setattr("poise.engine.streams.seeded", None)
    draws = Draws(1, SINGLE.device)
    loss = BatchLoss(supernet, images, labels, draws, SINGLE, rate)
    state = torch.random.get_rng_state()
    first = loss(mixture)
    assert torch.equal(loss(mixture), first)
    loss.evaluation(mixture)
    assert torch.equal(torch.random.get_rng_state(), state)
    draws.refill(2)
    again = loss(mixture)
    assert torch.equal(again, BatchLoss(supernet, images, labels, Draws(2, SINGLE.device), SINGLE, rate)(mixture))
    assert torch.equal(again, first) == (kind in ("1shot1", "mobile"))


def test_operations_of_others_draw_from_torchs_generators_which_start_alike() -> None:
    supernet = Darts(2, 3).supernet(TASK)
    assert takes_draws(supernet)
    supernet.cells[0].edges["0->2"]["none"] = nn.Dropout(0.5)
    assert not only_given(supernet)
    supernet.takes_draws = False
    loss, mixture = batch_loss(supernet), mixture_of(supernet)
    assert torch.equal(loss(mixture), loss(mixture))


def test_the_value_is_the_mean_cross_entropy_of_the_network() -> None:
    supernet = small_supernet()
    loss = batch_loss(supernet, DOUBLE)
    images, labels = next(iter(batches(place=DOUBLE).ordered()))
    mixture = mixture_of(supernet, torch.float64)
    logits = supernet(images, mixture)
    assert torch.equal(loss(mixture), F.cross_entropy(logits, labels))
    assert torch.equal(loss.outputs, logits)
    assert not loss.outputs.requires_grad
    meter = HitMeter(CLASSES)
    loss.count(meter)
    assert meter.compute() == {"accuracy": float((logits.argmax(1) == labels).double().mean())}
    changed = {name: weight.detach() * 1.5 for name, weight in supernet.named_parameters()}
    given = loss(mixture, changed)
    with torch.no_grad():
        for name, weight in supernet.named_parameters():
            weight.copy_(changed[name])
    torch.testing.assert_close(given, loss(mixture), rtol=1e-12, atol=0)


def test_running_statistics_move_only_when_tracked_and_then_once() -> None:
    supernet = small_supernet()
    loss = batch_loss(supernet)
    mixture = mixture_of(supernet)
    before = buffers_of(supernet)
    loss(mixture)
    loss(mixture, dict(supernet.named_parameters()))
    loss.evaluation(mixture)
    assert same(buffers_of(supernet), before)
    loss(mixture, track=True)
    counts = [value for name, value in supernet.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts
    assert all(int(count) == 1 for count in counts)
    moved = buffers_of(supernet)
    assert all(not torch.equal(moved[name], before[name]) for name in before if name.endswith("running_mean"))
    assert all(torch.equal(moved[name], before[name]) for name in before if name.endswith("mixture"))


def test_exact_forgoes_reduced_precision() -> None:
    supernet = small_supernet()
    mixed, plain = batch_loss(supernet, Place.open("cpu", "bf16-mixed")), batch_loss(supernet)
    mixture = mixture_of(supernet)
    assert torch.equal(mixed(mixture, full_precision=True), plain(mixture))
    assert not torch.equal(mixed(mixture), plain(mixture))


def test_evaluation_uses_running_statistics_and_no_dropout() -> None:
    supernet = small_supernet(dropout=0.5)
    loss = batch_loss(supernet, DOUBLE)
    mixture = mixture_of(supernet, torch.float64)
    loss(mixture, track=True)
    images, labels = next(iter(batches(place=DOUBLE).ordered()))
    supernet.eval()
    expected = F.cross_entropy(supernet(images, mixture), labels)
    supernet.train()
    assert torch.equal(loss.evaluation(mixture), expected)
    assert not torch.equal(loss(mixture), expected)
    assert all(module.training for module in supernet.modules())


def test_evaluation_restores_training_mode_even_on_error() -> None:
    supernet = small_supernet()
    loss = batch_loss(supernet)
    with pytest.raises(KeyError):
        loss.evaluation({})
    assert all(module.training for module in supernet.modules())


@pytest.mark.parametrize("slot", ["attack", "first order", "alignment"])
def test_weight_gradients_are_computed_only_where_they_are_wanted(slot: str) -> None:
    supernet = small_supernet()
    loss = batch_loss(supernet)
    mixture = mixture_of(supernet)
    weights = dict(supernet.named_parameters())
    fired: list[str] = []
    for name, weight in weights.items():
        weight.register_hook(lambda gradient, n=name: fired.append(n))
    if slot == "attack":
        AdversarialSmoothing()(mixture, loss, Softmax(), Progress(1, 2), Draws(0, SINGLE.device))
    elif slot == "first order":
        FirstOrder()(loss, loss, mixture, weights, Descent(0.1, 0.9, 0.0, False, {}))
    else:
        LayerAlignment()(loss, mixture, weights, supernet.groups, Progress(1, 2))
    assert all(weight.grad is None for weight in weights.values())
    assert set(fired) == (set(weights) if slot == "alignment" else set())


@pytest.mark.parametrize("attack", [AdversarialSmoothing(), ExactAdversarialSmoothing()], ids=lambda a: a.kind)
@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()], ids=lambda r: r.kind)
def test_the_attack_on_a_network(relaxation: Any, attack: Any) -> None:
    """It raises the loss that it attacks and leaves mixture, weights, statistics, mode and random numbers alone."""
    supernet = small_supernet(dropout=0.3)
    loss = batch_loss(supernet, DOUBLE)
    alphas = {g.name: torch.zeros(g.shape, dtype=torch.float64) for g in supernet.groups}
    mixture = expand({name: relaxation(value) for name, value in alphas.items()}, supernet.groups)
    loss(mixture, track=True)
    before, kept = {n: v.clone() for n, v in supernet.state_dict().items()}, {n: v.clone() for n, v in mixture.items()}
    state = torch.random.get_rng_state()
    rises = []
    for epoch in (0, 5, 10):
        found = attack(mixture, loss, relaxation, Progress(epoch, 10), Draws(epoch, DOUBLE.device))
        clean, attacked = float(loss.evaluation(mixture).detach()), float(loss.evaluation(found).detach())
        radius = 0.03 + 0.27 * epoch / 10
        if isinstance(relaxation, Sigmoid):
            assert attacked > clean + 1e-4 * radius
        rises.append(attacked - clean)
        random = []
        for draw in range(20):
            moved = {}
            for name, clean_values in mixture.items():
                noise = 2 * torch.rand(clean_values.shape[1:], generator=stream(9, name, draw), dtype=torch.float64) - 1
                moved[name] = relaxation.project(clean_values + radius * noise, clean_values, radius)
            random.append(float(loss.evaluation(moved).detach()))
        # On the simplex a sign step is not the steepest one (all of a row up is nowhere), so chance may do better.
        if isinstance(relaxation, Sigmoid):
            assert attacked >= max(random), "an attack beats chance"
        for name, values in found.items():
            assert all(torch.equal(layer, values[0]) for layer in values)
            if attack.kind == "adversarial-exact" or isinstance(relaxation, Sigmoid):
                assert float((values - mixture[name]).abs().max()) <= radius + 1e-6
            assert -1e-9 <= float(values.min()) <= float(values.max()) <= 1 + 1e-9
            if isinstance(relaxation, Softmax):
                assert float((values.sum(-1) - 1).abs().max()) < 1e-6
    assert min(rises) >= 0 < max(rises)
    assert same({n: v.clone() for n, v in supernet.state_dict().items()}, before)
    assert same(dict(mixture), kept)
    assert all(module.training for module in supernet.modules())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(weight.grad is None for weight in supernet.parameters())


def test_alignment_and_unrolling_update_running_statistics_once_and_never() -> None:
    supernet = small_supernet()
    loss = batch_loss(supernet)
    mixture = mixture_of(supernet)
    weights = dict(supernet.named_parameters())
    before = buffers_of(supernet)
    Unrolled()(loss, loss, mixture, weights, Descent(0.1, 0.9, 0.0, False, {}))
    assert same(buffers_of(supernet), before)
    LayerAlignment()(loss, mixture, weights, supernet.groups, Progress(1, 2))
    aligned = buffers_of(supernet)
    for name, value in before.items():
        supernet.get_buffer(name).copy_(value)
    loss(mixture, track=True)
    assert same(aligned, buffers_of(supernet))
    assert not same(aligned, before)


def test_streams_depend_on_their_purpose_alone() -> None:
    assert seed_of(0, "order", 3) == seed_of(0, "order", 3)
    purposes = [(0, "order", 3), (1, "order", 3), (0, "order", 4), (0, "noise", 3), (0, "order", 3, 0), (0, "order")]
    assert len({seed_of(*purpose) for purpose in purposes}) == len(purposes)
    assert all(0 <= seed_of(*purpose) < 2**63 for purpose in purposes)
    assert torch.equal(torch.rand(4, generator=stream(1, "a")), torch.rand(4, generator=stream(1, "a")))
    state = torch.random.get_rng_state()
    with seeded(3, torch.device("cpu")):
        first = torch.rand(4)
    with seeded(3, torch.device("cpu")):
        assert torch.equal(torch.rand(4), first)
    assert torch.equal(torch.random.get_rng_state(), state)
