"""A search on text: hidden states of two streams, steps as long as their pieces, regularisers, exact resume."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from engine_support import DOUBLE, TEXT_TASK, States, same, state_of, text_batches, text_searcher
from torch.nn import functional as F

from poise.engine.checkpointer import Checkpointer
from poise.engine.events import Event, Stepped, ignore
from poise.engine.loss import BatchLoss
from poise.engine.objective import CLASSES, HitMeter
from poise.engine.search import one_epoch, search
from poise.engine.searcher import Epoch
from poise.engine.streams import seed_of, stream
from poise.engine.trained import TrainedSupernet
from poise.methods import Method, sdarts_adv
from poise.methods.slots import Progress
from poise.selection.edits import Edits
from poise.selection.perturbation import PerturbationRule
from poise.spaces import Noise, Recurrent
from poise.supernet.draws import Draws
from poise.supernet.groups import expand
from poise.supernet.inputs import SEARCH, TRAINING, TextBatch

SPACE = Recurrent(units=4, nodes=3, noise=Noise(input=0.25, output=0.25, slowness=2.0))


def loud(**given: Any) -> Any:
    """A searcher of a supernet with weights large enough to tell its states apart."""
    torch.manual_seed(0)
    supernet = SPACE.supernet(TEXT_TASK)
    with torch.no_grad():
        for weight in supernet.parameters():
            weight.mul_(20)
    return text_searcher(supernet=supernet, words=60, **given)


def loss_of(found: Any, batch: TextBatch, labels: torch.Tensor, seed: int = 5) -> BatchLoss:
    return BatchLoss(found.supernet, batch, labels, Draws(seed, found.place.device), found.place)


def test_the_training_loss_has_the_regularisers_and_the_record_has_not() -> None:
    found = loud(place=DOUBLE)
    mixture = found.mixture()
    for stream_of_text in (TRAINING, SEARCH):
        batch, labels = next(text_batches(60, stream_of_text, 1).epoch(stream(0, "x")))
        loss = loss_of(found, batch, labels)
        value = loss(mixture, track=True)
        assert loss.plain is not None
        if stream_of_text == SEARCH:
            assert float(value.detach()) == float(loss.plain)
        else:
            assert float(value.detach()) > float(loss.plain) + 1e-4
        meter = HitMeter(CLASSES)
        loss.count(meter)
        assert meter.compute() == {"accuracy": float((loss.outputs.argmax(1) == labels).double().mean())}
        again = loss(mixture)
        torch.testing.assert_close(again, value, rtol=0, atol=0)  # the same draws of dropout


def test_only_what_counts_moves_the_stream_on() -> None:
    found = loud(place=DOUBLE)
    mixture = found.mixture()
    batch, labels = next(found.training.epoch(stream(0, "x")))
    loss = loss_of(found, batch, labels)
    before = found.supernet.hidden.clone()
    loss.evaluation(mixture)
    loss.carry()
    assert torch.equal(found.supernet.hidden, before), "nothing has counted yet"
    first = loss(mixture)
    other = {name: values * 0.5 for name, values in mixture.items()}
    loss(other)
    loss.carry()
    after_first = found.supernet.hidden.clone()
    assert not torch.equal(after_first[TRAINING], before[TRAINING])
    assert torch.equal(after_first[SEARCH], before[SEARCH])
    loss(other, track=True)
    loss.carry()
    assert not torch.equal(found.supernet.hidden[TRAINING], after_first[TRAINING]), "the tracked call counts"
    assert first.requires_grad


def test_a_search_carries_both_states_from_step_to_step() -> None:
    """The states that steps start from are those at which the last pieces of the same stream ended."""
    found = loud(place=DOUBLE)
    ends: dict[int, torch.Tensor] = {}
    starts: list[tuple[int, bool]] = []
    carry, forward = found.supernet.carry, found.supernet.forward

    def watched(batch: TextBatch, mixture: Any, draws: Any) -> Any:
        if not batch.fresh:
            assert torch.equal(found.supernet.hidden[batch.stream], ends[batch.stream])
        starts.append((batch.stream, batch.fresh))
        return forward(batch, mixture, draws)

    def carried(batch: TextBatch, state: torch.Tensor) -> None:
        ends[batch.stream] = state.clone()
        carry(batch, state)

    found.supernet.forward, found.supernet.carry = watched, carried
    one_epoch(found, Epoch(Progress(0, 2), 0.5, ("search", 0)), ignore)
    assert len(found.training) == 4
    assert [fresh for which, fresh in starts if which == TRAINING] == [True, False, False, False]
    assert [fresh for which, fresh in starts if which == SEARCH] == [True, False, False, False]
    assert all(ends[which].abs().max() > 0 for which in (TRAINING, SEARCH))


def test_a_step_is_as_long_as_its_piece() -> None:
    """One step with plain SGD: ``w − η·(length/sequence)·(clip(g) + wd·w)``."""
    weights = {"momentum": 0.0, "weight_decay": 0.01, "clip": 0.05}
    found = loud(place=DOUBLE, weights=weights)
    method: Method = found.method
    batch, labels = next(found.training.epoch(stream(found.seed, "order", "search", 0)))
    assert batch.pace != 1
    before = {name: weight.detach().clone() for name, weight in found.weights.items()}
    seen: list[int] = []

    class Enough(Exception):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, Stepped):
            seen.append(event.done)
            raise Enough

    with pytest.raises(Enough):
        one_epoch(found, Epoch(Progress(0, 2), 0.5, ("search", 0)), stop)
    moved = {name: weight.detach().clone() for name, weight in found.weights.items()}
    fresh = loud(place=DOUBLE, weights=weights)
    with torch.no_grad():
        for name, alphas in fresh.alphas.items():
            alphas.copy_(found.alphas[name])  # they move first
    loss = loss_of(fresh, batch, labels, seed_of(found.seed, "training", "search", 0, 0))
    relaxed = {name: method.relaxation(alphas.detach()) for name, alphas in fresh.alphas.items()}
    names = list(fresh.weights)
    gradients = torch.autograd.grad(loss(expand(relaxed, fresh.groups)), list(fresh.weights.values()))
    norm = torch.stack([g.norm() for g in gradients]).norm()
    assert norm > 0.05, "it is clipped"
    for name, gradient in zip(names, gradients, strict=True):
        expected = before[name] - 0.5 * batch.pace * (gradient * 0.05 / (norm + 1e-6) + 0.01 * before[name])
        torch.testing.assert_close(moved[name], expected, rtol=1e-9, atol=1e-12)


def test_records_have_perplexities() -> None:
    history = search(loud())
    for record in history:
        assert record["train_perplexity"] == pytest.approx(math.exp(record["train_loss"]))
        assert record["search_perplexity"] == pytest.approx(math.exp(record["search_loss"]))
        assert 0 <= record["train_accuracy"] <= 1


@pytest.mark.parametrize("method", [Method(), sdarts_adv()], ids=["darts", "sdarts-adv"])
def test_a_search_goes_on_in_the_middle_of_an_epoch_to_the_last_bit(method: Method) -> None:
    whole = loud(method=method)
    expected = search(whole)
    states = States()
    search(loud(method=method), saver=states.saver())
    middle = next(state for state in states.all if state.get("step") == 2 and state["facts"]["history"])
    resumed = loud(method=method)
    history = search(resumed, saver=Checkpointer(start=middle))
    assert same(state_of(resumed), state_of(whole))
    for one, other in zip(history, expected, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    wrong = loud(method=method)
    middle["trainer"]["supernet"]["hidden"].zero_()
    search(wrong, saver=Checkpointer(start=middle))
    assert not same(state_of(wrong), state_of(whole)), "the hidden state is part of what a search goes on from"


def test_measuring_leaves_the_states_alone_and_weighs_words() -> None:
    found = loud(place=DOUBLE)
    one_epoch(found, Epoch(Progress(0, 2), 0.5, ("search", 0)), ignore)
    before = state_of(found)
    alphas = {name: values.detach() for name, values in found.alphas.items()}
    trained = TrainedSupernet(SPACE, found.groups, alphas, found.method.relaxation, lambda: found, 0)
    none = Edits.none(found.groups)
    scores = trained.compare([none, none.drop("recurrent", 0, 1)])
    assert same(before, state_of(found))
    total = words = 0.0
    for step, (batch, labels) in enumerate(found.searching.ordered()):
        with torch.no_grad():
            loss = loss_of(found, batch, labels, seed_of(0, "measure", step))(found.mixture())
        total, words = total + float(loss) * len(labels), words + len(labels)
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0].loss == pytest.approx(total / words, rel=1e-6)
    assert scores[0].loss != scores[1].loss


def test_selection_by_perturbation_runs() -> None:
    found = text_searcher(Method(selection=PerturbationRule(criterion="loss", tune_epochs=1)))
    alphas = {name: values.detach() for name, values in found.alphas.items()}
    trained = TrainedSupernet(
        Recurrent(units=4, nodes=3), found.groups, alphas, found.method.relaxation, lambda: found, 0
    )
    kept = found.method.selection(trained)
    assert trained.valid(kept)
    rows = kept["recurrent"]
    assert [sum(bool(rows[row]) for row in node) for node in found.groups[0].nodes] == [1, 1, 1]


def test_loss_is_the_mean_over_words() -> None:
    found = text_searcher(place=DOUBLE)
    batch, labels = next(found.searching.ordered())
    supernet = found.supernet
    value = loss_of(found, batch, labels).evaluation(found.mixture())
    supernet.eval()
    logits = supernet(batch, found.mixture()).outputs
    rows = [F.cross_entropy(row, label) for row, label in zip(logits, labels, strict=True)]
    torch.testing.assert_close(value, torch.stack(rows).mean())
