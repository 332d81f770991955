"""Retraining a language model: averaged SGD by hand and beside torch's, perplexity, exact resume."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from engine_support import DOUBLE, SINGLE, TEXT_TASK, States, text_batches
from torch.nn import functional as F

from poise.engine.batch_memory import measure
from poise.engine.checkpointer import Checkpointer
from poise.engine.divergence import Diverged
from poise.engine.language import LanguageTrainer, evaluate_text, text_step, train_text
from poise.engine.loop import Sums
from poise.engine.settings import TrainSettings
from poise.engine.streams import seed_of, stream
from poise.engine.train import NetworkDescent
from poise.genotype import Genotype
from poise.spaces import Noise, Recurrent
from poise.supernet.draws import Draws
from poise.supernet.inputs import TRAINING

GENOTYPE = Genotype.parse("Genotype(recurrent=[('tanh', 0), ('sigmoid', 1), ('relu', 1)], concat=range(1, 4))")
QUIET = Noise(0, 0, 0, 0, 0, 0, 0)
NOISY = Noise(word=0.1, embedding=0.2, input=0.25, hidden=0.25, output=0.25, activation=0.5, slowness=0.5)


def network(noise: Noise = QUIET, size: float = 15.0) -> Any:
    torch.manual_seed(0)
    found = Recurrent(nodes=3, noise=noise).network(GENOTYPE, TEXT_TASK, channels=4)
    with torch.no_grad():
        for weight in found.parameters():
            weight.mul_(size)
    return found


def settings(**given: Any) -> TrainSettings:
    weights = {"learning_rate": 0.5, "final_learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.01, "clip": 0.3}
    text = {"sequence": 4, "patience": 1} | given.pop("text", {})
    return TrainSettings.model_validate(
        {"epochs": 4, "batch_size": 3, "weights": weights | given.pop("weights", {}), "text": text, **given}
    )


def trainer(noise: Noise = QUIET, **given: Any) -> LanguageTrainer:
    texts = text_batches(60, TRAINING, 1), text_batches(30, TRAINING, 2, vary=False)
    return LanguageTrainer(NetworkDescent(network(noise), settings(**given), DOUBLE, 0), *texts)


def weights_of(found: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in found.named_parameters()}


def test_a_step_by_hand() -> None:
    """``w − η·(length/sequence)·(clip(g) + wd·w)``, from the hidden state at hand."""
    found, sums = trainer(NOISY, weights={"clip": 0.1}), Sums()
    piece, labels = next(found.begin(1, 0))
    assert torch.equal(piece.tokens, next(found.training.epoch(stream(0, "train order", 1)))[0].tokens)
    piece = replace(piece, fresh=False, pace=0.75)
    before = weights_of(network(NOISY).double())
    found.hidden = torch.full((3, 4), 0.3, dtype=torch.float64)
    found.step(7, (piece, labels), sums)
    plain = network(NOISY).double().train()
    draws = Draws(seed_of(0, "train", 1, 7), torch.device("cpu"))
    logits, hidden, extra = plain(piece.tokens, torch.full((3, 4), 0.3, dtype=torch.float64), draws)
    assert extra > 0
    loss = F.cross_entropy(logits, labels)
    gradients = torch.autograd.grad(loss + extra, list(plain.parameters()))
    norm = torch.cat([g.flatten() for g in gradients]).norm()
    assert norm > 0.1, "it is clipped"
    for (name, weight), gradient in zip(before.items(), gradients, strict=True):
        expected = weight - 0.5 * 0.75 * (gradient * 0.1 / (norm + 1e-6) + 0.01 * weight)
        torch.testing.assert_close(found.weights[name].detach(), expected, rtol=1e-10, atol=1e-12)
    assert found.hidden is not None
    torch.testing.assert_close(found.hidden, hidden.detach(), rtol=0, atol=1e-12)
    assert not found.hidden.requires_grad
    torch.testing.assert_close(sums.values["loss"][0], loss.detach(), rtol=1e-12, atol=0)


def test_averaged_sgd_is_the_mean_of_the_weights_and_torch_s_but_for_the_first() -> None:
    found = trainer()
    pieces = [(replace(piece, pace=1.0), labels) for piece, labels in found.begin(0, 0)]
    assert len(pieces) == 4
    found.mean = {name: torch.zeros_like(weight) for name, weight in found.weights.items()}
    beside = network().double().train()
    theirs = torch.optim.ASGD(beside.parameters(), lr=0.5, t0=0, lambd=0.0, weight_decay=0.01)
    trail: list[dict[str, torch.Tensor]] = []
    hidden = None
    for number, (piece, labels) in enumerate(pieces):
        found.step(number, (piece, labels), Sums())
        trail.append({name: weight.detach().clone() for name, weight in found.weights.items()})
        theirs.zero_grad()
        logits, hidden, _ = beside(piece.tokens, hidden)
        hidden = hidden.detach()
        F.cross_entropy(logits, labels).backward()
        torch.nn.utils.clip_grad_norm_(beside.parameters(), 0.3)
        theirs.step()
    for name, weight in beside.named_parameters():
        torch.testing.assert_close(trail[-1][name], weight.detach(), rtol=1e-6, atol=1e-9)
        ours = found.counting()[name]
        torch.testing.assert_close(ours, torch.stack([each[name] for each in trail]).mean(dim=0), rtol=1e-10, atol=0)
        rest = (ours * len(trail) - trail[0][name]) / (len(trail) - 1)
        torch.testing.assert_close(theirs.state[weight]["ax"], rest, rtol=1e-6, atol=1e-9)


def test_averaging_begins_when_validation_no_longer_gets_better() -> None:
    found = trainer(text={"patience": 2})
    real = evaluate_text(found.descent.network, found.valid, DOUBLE)["loss"]
    assert found.measure([])["averaging"] == 0

    def after(*differences: float) -> bool:
        found.mean = {}
        measured = found.measure([{"valid_loss": real + difference} for difference in differences])
        assert measured["valid_loss"] == pytest.approx(real)
        assert measured["valid_perplexity"] == pytest.approx(math.exp(real))
        assert measured["averaging"] == 0, "what was measured are the weights themselves"
        return bool(found.mean)

    assert not after(-1.0, -1.0), "no more than the last epochs"
    assert not after(0.5, -1.0, -1.0), "better than all that are earlier"
    assert after(-0.5, 1.0, 1.0)
    assert after(0.5, -0.5, 1.0, 1.0)
    assert all((value == 0).all() for value in found.mean.values())
    found.averaged = 0
    found.average()
    assert found.measure([])["averaging"] == 1


def test_the_best_weights_are_the_result_and_the_mean_is_what_is_measured() -> None:
    net = network(NOISY)
    texts = text_batches(60, TRAINING, 1), text_batches(30, TRAINING, 2, vary=False)
    history = train_text(net, settings(epochs=5, text={"patience": 1}), *texts, DOUBLE, 0)
    assert [record["epoch"] for record in history] == list(range(5))
    best = min(record["valid_loss"] for record in history)
    assert evaluate_text(net, texts[1], DOUBLE)["loss"] == pytest.approx(best, rel=1e-12)
    assert best < history[-1]["valid_loss"] or best == history[-1]["valid_loss"]
    assert {record["averaging"] for record in history} == {0.0, 1.0}, "random words: averaging began"
    assert all(record["train_perplexity"] == pytest.approx(math.exp(record["train_loss"])) for record in history)
    assert not net.training


def test_perplexity_of_one_long_pass() -> None:
    net = network().double()
    made = text_batches(30, TRAINING, 2, sequence=4, vary=False)
    found = evaluate_text(net, made, DOUBLE)
    pieces = list(made.ordered())
    tokens = torch.cat([piece.tokens for piece, _ in pieces])
    labels = torch.cat([labels for _, labels in pieces])
    with torch.no_grad():
        logits = net(tokens).logits
    expected = F.cross_entropy(logits, labels).item()
    assert found["loss"] == pytest.approx(expected, rel=1e-12)
    assert found["perplexity"] == pytest.approx(math.exp(expected))
    assert found["accuracy"] == pytest.approx((logits.argmax(1) == labels).double().mean().item())
    assert not net.training
    other = {name: value * 0 for name, value in net.named_parameters()}
    assert evaluate_text(net, made, DOUBLE, other)["perplexity"] == pytest.approx(7.0)


@pytest.mark.parametrize("averaging", [False, True])
def test_a_training_goes_on_in_the_middle_of_an_epoch_to_the_last_bit(averaging: bool) -> None:
    texts = text_batches(60, TRAINING, 1), text_batches(30, TRAINING, 2, vary=False)
    form = settings(epochs=6, weights={"momentum": 0.5, "learning_rate": 2.0, "final_learning_rate": 2.0})
    whole, states = network(NOISY), States()
    expected = train_text(whole, form, *texts, SINGLE, 3, saver=states.saver())
    middle = next(s for s in states.all if s.get("step") == 2 and bool(s["trainer"]["mean"]) == averaging)
    resumed = network(NOISY)
    history = train_text(resumed, form, *texts, SINGLE, 3, saver=Checkpointer(start=middle))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    for one, other in zip(history, expected, strict=True):
        assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}


def test_divergence_is_said_and_nothing_taken_up() -> None:
    found = trainer()
    net: Any = found.descent.network
    before = weights_of(net)
    with torch.no_grad():
        net.words.bias.fill_(float("nan"))
    piece, labels = next(found.begin(1, 0))
    with pytest.raises(Diverged, match=r"diverged in step 3 of epoch 2 of the training: .*learning_rate \(now 0.5\)"):
        found.step(2, (replace(piece, pace=1.0), labels), Sums())
    assert torch.equal(net.words.weight.detach(), before["words.weight"])


def test_memory_is_measured_without_a_trace() -> None:
    net = network(NOISY)
    before = weights_of(net)
    step = text_step(net, settings(), text_batches(600, TRAINING, 1, columns=12), SINGLE)
    assert measure(step).per_image > 0
    assert all(torch.equal(value, before[name]) for name, value in net.named_parameters())


def test_the_learning_rate_follows_the_schedule_that_is_set() -> None:
    texts = text_batches(60, TRAINING, 1), text_batches(30, TRAINING, 2, vary=False)
    weights = {"momentum": 0.0, "learning_rate": 2.0, "final_learning_rate": 0.0}
    form = settings(epochs=4, schedule="linear", warm_up=2, weights=weights)
    history = train_text(network(NOISY), form, *texts, SINGLE, 3)
    assert [record["learning_rate"] for record in history] == pytest.approx([1.0, 2.0, 1.0, 0.5])
