"""A captured step of a retraining is the step, to the last bit, for networks of every kind of space: what it draws is
handed in, and nothing is read back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from engine_support import DOUBLE, SINGLE, TASK, TEXT_TASK, States, batches, small_network, text_batches
from test_captured import differing, flat
from torch import Tensor, nn

from poise.engine.captured import Backend
from poise.engine.checkpointer import Checkpointer
from poise.engine.device_only import DeviceOnly
from poise.engine.events import Listener, Noted, ignore
from poise.engine.language import LanguageTrainer
from poise.engine.loop import Course, Sums, Trainer, run
from poise.engine.settings import TrainSettings
from poise.engine.train import NetworkDescent, NetworkTrainer, train
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import SPACES, Noise, Recurrent
from poise.spaces.nasbench101 import Cell
from poise.supernet.draws import Draws
from poise.supernet.inputs import TRAINING
from recorded import Recorder

REST = {f"{source}->{node}": ("sep_conv_3x3",) for node in (4, 5) for source in (0, 1)}
CELL = {"0->2": ("sep_conv_3x3",), "1->2": ("skip_connect",), "0->3": ("max_pool_3x3",), "2->3": ("dil_conv_3x3",)}
NOISY = {"0->2": ("noise",), "1->2": ("sep_conv_3x3",), "0->3": ("sep_conv_3x3",), "2->3": ("noise",)}
BENCH = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_3x3~2|"
SHOT = Cell(
    frozenset({(0, 1), (1, 2), (0, 3), (1, 3), (0, 4), (2, 4), (1, 5), (3, 5), (4, 5)}),
    ("conv3x3-bn-relu", "maxpool3x3", "conv1x1-bn-relu", "conv3x3-bn-relu"),
)
BOTTLENECK, BYPASS = ("mb_conv_3x3_e3",), ("skip_connect",)


def genotype(name: str) -> Genotype:
    """With operations of every kind."""
    if name == "nasbench201":
        return Genotype.parse(BENCH)
    if name == "nasbench1shot1-2":
        found: Genotype = SPACES[name]().genotype(SHOT)  # type: ignore[attr-defined]
        return found
    if name == "mobile":
        first, rest = SPACES[name]().groups
        kept = {row.name: BYPASS if number % 3 == 0 else BOTTLENECK for number, row in enumerate(rest.rows)}
        return Genotype(name, {"first": {row.name: BOTTLENECK for row in first.rows}, "rest": kept})
    cell = (NOISY if name == "s4" else CELL) | REST
    return Genotype(name, {"normal": cell, "reduce": cell})


SIZES: dict[str, dict[str, Any]] = {
    "darts": {"cells": 3, "auxiliary": True},
    "s4": {"cells": 3, "auxiliary": True},
    "nasbench201": {"cells": 1},
    "nasbench1shot1-2": {"cells": 3},
    "mobile": {},
}
"""Of small networks of spaces of every kind, with an auxiliary head where there is one."""

DROPPING = ("darts", "s4", "mobile")


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SPACES[name]().network(genotype(name), TASK, channels=4, **SIZES[name])


def settings(drop: float = 0.0, **given: Any) -> TrainSettings:
    """Two epochs, the last of which drops with half of this probability."""
    return TrainSettings(epochs=2, batch_size=4, drop_path=drop, **given)


def descent(name: str, backend: Backend | None = None, drop: float = 0.6) -> NetworkDescent:
    found = NetworkDescent(network(name), settings(drop if name in DROPPING else 0.0), SINGLE, 0)
    found.backend = backend
    return found


def trained(trainer: Trainer, epochs: int = 2) -> dict[str, Tensor]:
    """Everything that moved in the steps of all epochs, and what was measured."""
    for epoch in range(epochs):
        sums = Sums()
        for number, batch in enumerate(trainer.begin(epoch, 0)):
            trainer.step(number, batch, sums)
    return dict(flat({**trainer.state(), "sums": sums.state()}))


def images(steps: int = 4, more: int = 0) -> Any:
    return batches(4 * steps + more, 4, 1)


def built(name: str, backend: Backend | None = None, listen: Listener = ignore) -> NetworkTrainer:
    """Four steps an epoch: two as they come, a captured one, one more replay."""
    return NetworkTrainer(descent(name, backend), images(), None, listen)


@pytest.mark.parametrize("name", SIZES)
def test_a_captured_training_is_the_training_bit_for_bit(name: str) -> None:
    recorder, told = Recorder(), list[Any]()
    captured = trained(built(name, recorder, told.append))
    assert not told
    assert len(recorder.recordings) == 2, "one graph for each epoch"
    assert differing(trained(built(name)), captured) == []


def test_without_new_random_numbers_it_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = trained(built("darts"))
    monkeypatch.setattr(Draws, "refill", lambda self, seed: self.again())
    assert differing(plain, trained(built("darts", Recorder())))


@pytest.mark.parametrize("name", SIZES)
def test_a_step_stays_on_the_device(name: str) -> None:
    found = built(name)
    batch = next(iter(found.begin(1, 0)))
    draws = Draws(0, SINGLE.device)
    for watch in (DeviceOnly(), DeviceOnly()):  # the first makes what is made once
        with watch:
            found.move(draws, *batch)
    assert watch.found == {}


def test_drop_path_has_its_probability_and_keeps_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """What reaches the network is 0 for a share p of all, and 1/(1 − p) for the others."""
    found, seen = network("darts"), list[Tensor]()
    heads: Any = found.heads

    def listened(self: nn.Module, images: Tensor, kept: Tensor) -> Any:
        seen.append(kept)
        return heads(images, kept)

    monkeypatch.setattr(type(found), "heads", listened)
    trainer = NetworkTrainer(NetworkDescent(found, settings(0.6), DOUBLE, 0), batches(48, 48, 1, DOUBLE))
    for epoch in range(2):
        next_batch = next(iter(trainer.begin(epoch, 0)))
        trainer.step(0, next_batch, Sums())
    first, second = seen
    assert first.dtype == torch.float64
    assert bool((first == 1).all()), "it begins with nothing dropped"
    assert second.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    count = second.numel()
    assert float((second == 0).double().mean()) == pytest.approx(0.3, abs=4 * (0.21 / count) ** 0.5)


def test_weights_that_a_loss_does_not_reach_stay() -> None:
    """Also where an earlier step reached them: without gradient there is no weight decay and no momentum."""

    class Turns(nn.Module):
        draws_nothing = True

        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.frozen = nn.Linear(3, 3), nn.Linear(3, 3), nn.Parameter(torch.ones(()))
            self.frozen.requires_grad_(False)
            self.first = True

        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = (self.one if self.first else self.other)(images.mean((2, 3)) * self.frozen)
            return found

    net = Turns()
    found = NetworkTrainer(NetworkDescent(net, settings(auxiliary=0.0), SINGLE, 0), images())
    batch = next(iter(found.begin(0, 0)))
    found.step(0, batch, Sums())
    net.first = False
    one, other = net.one.weight.clone(), net.other.weight.clone()
    found.step(1, batch, Sums())
    assert torch.equal(net.one.weight, one)
    assert not torch.equal(net.other.weight, other)
    assert float(net.frozen) == 1.0


def test_modules_that_draw_by_themselves_are_trained_as_ever_and_it_is_said_once() -> None:
    def own(backend: Backend | None, listen: Listener = ignore) -> NetworkTrainer:
        found = NetworkDescent(small_network(dropout=0.5), settings(auxiliary=0.0), SINGLE, 0)
        found.backend = backend
        return NetworkTrainer(found, images(), None, listen)

    recorder, told = Recorder(), list[Any]()
    plain = trained(own(None))
    assert differing(plain, trained(own(recorder, told.append))) == []
    reason = "random numbers cannot be handed to the network"
    assert told == [Noted(f"steps are not captured in a graph: {reason}")]
    assert not recorder.recordings


def reader(backend: Backend | None) -> LanguageTrainer:
    """Seven pieces an epoch, all as long; its weights are averaged."""
    noise = Noise(word=0.1, embedding=0.2, input=0.25, hidden=0.25, output=0.25, activation=0.5, slowness=0.5)
    space: Any = Recurrent(nodes=3, noise=noise)
    text = "Genotype(recurrent=[('tanh', 0), ('sigmoid', 1), ('relu', 1)], concat=range(1, 4))"
    torch.manual_seed(0)
    net = space.network(Genotype.parse(text), TEXT_TASK, channels=4)
    found = NetworkDescent(net, settings(auxiliary=0.0, weights={"momentum": 0.0}), SINGLE, 0)
    found.backend = backend
    first, second = (text_batches(87, TRAINING, seed, vary=False) for seed in (1, 2))
    trainer = LanguageTrainer(found, first, second)
    trainer.mean = {name: torch.zeros_like(weight) for name, weight in trainer.weights.items()}
    return trainer


def test_a_captured_training_on_text_is_the_training_bit_for_bit() -> None:
    """With its hidden state, which goes from piece to piece, and the mean of its weights."""
    recorder = Recorder()
    captured, plain = trained(reader(recorder)), trained(reader(None))
    assert len(recorder.recordings) == 2
    assert differing(plain, captured) == []
    assert any(float(values.abs().max()) > 0 for name, values in plain.items() if name.startswith("/mean/"))


def test_a_training_gone_on_with_within_a_captured_epoch_equals_one_run_through() -> None:
    course, saved, recorder = Course("train", 2, 4), States(), Recorder()
    through = built("darts", Recorder())
    run(through, course, ignore, saved.saver())
    other = built("darts", recorder)
    run(other, course, ignore, Checkpointer(start=saved.all[4]))
    assert len(recorder.recordings) == 1
    assert differing(dict(flat(through.state())), dict(flat(other.state()))) == []


def test_drop_path_is_refused_where_there_is_none() -> None:
    with pytest.raises(Refused, match="NasBench201Network has no drop-path and no auxiliary head; set both to 0"):
        train(network("nasbench201"), settings(0.1, auxiliary=0.0), images(), SINGLE, 0)
