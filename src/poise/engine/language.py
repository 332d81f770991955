"""Retraining a language model: SGD, then averaged SGD; and its perplexity.

The hidden state goes from piece to piece of the training text, without gradient. After every epoch the validation text
is read in evaluation mode. Once its loss is above the least of all epochs but the last ``patience``, averaging begins:

    ``w ← w − η·(clip(∇L) + weight_decay·w),   w̄ ← w̄ + (w − w̄)/k``

with k the steps since then: w̄ is the mean of their weights, and what counts from then on. The weights of the epoch
with the least validation loss are kept as the result. The learning rate of a step is that of its epoch times the
piece's length over the usual one.

Source: Merity et al., Regularizing and Optimizing LSTM Language Models (arXiv:1708.02182), algorithm 1, as in DARTS's
released code (``rnn/train.py``). Differs: there `torch.optim.ASGD` leaves the first step out of the mean, and uses for
a piece the learning rate of the one before it; what is measured on the validation text is every word once, its mean
taken over words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.data.text_batches import TextBatches, perplexity
from poise.engine.checkpoint import State
from poise.engine.device import Place
from poise.engine.divergence import check_finite
from poise.engine.events import EpochEnded, Listener, Started, Stepped, ignore
from poise.engine.fit import Step
from poise.engine.keeper import Keeper
from poise.engine.objective import CLASSES, Objective, measured
from poise.engine.schedule import learning_rate
from poise.engine.settings import TrainSettings
from poise.engine.streams import seed_of, seeded, stream
from poise.errors import Refused

Weights = dict[str, Tensor]


class LanguageTrainer:
    """A language model in training: all that moves, and the steps that move it.

    Args:
        network: ``network(tokens, hidden) -> Reading``; trained in place.
        settings: epochs, optimizer, `TextTrainSettings`.
        training, valid: the two texts.
        place: device and precision.
        seed: of every random stream.
        rate: multiplies the learning rate.
        objective: what the network is trained and measured by.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainSettings,
        training: TextBatches,
        valid: TextBatches,
        place: Place,
        seed: int,
        rate: float = 1.0,
        objective: Objective = CLASSES,
    ) -> None:
        self.network = place.put(network).train()
        self.settings = settings
        self.training = training
        self.valid = valid
        self.place = place
        self.seed = seed
        self.rate = rate
        self.objective = objective
        form = settings.weights
        self.weights = dict(network.named_parameters())
        self.optimizer = torch.optim.SGD(
            self.weights.values(), form.learning_rate, form.momentum, 0, form.weight_decay, form.nesterov
        )
        self.hidden: Tensor | None = None
        self.mean: Weights = {}
        self.averaged = 0
        self.best: Weights = {}
        self.losses: list[Tensor] = []

    def step(self, tokens: Tensor, labels: Tensor, rate: float, seed: int, where: str) -> None:
        """One step on a piece that starts from `hidden`, which then is the piece's last hidden state."""
        with seeded(seed, self.place.device), self.place.autocast():
            logits, hidden, extra = self.network(tokens, self.hidden)
        loss = self.objective.loss(self.place.float(logits), labels)
        total = loss if extra is None else loss + self.place.float(extra)
        gradients = dict(zip(self.weights, torch.autograd.grad(total, list(self.weights.values())), strict=True))
        norm = nn.utils.get_total_norm(gradients.values())
        advice = f"try a smaller train.weights.learning_rate (now {rate:.4g}), or --on-nan rollback"
        check_finite(total, norm, partial(dict, gradients), where, advice)
        shrink = (self.settings.weights.clip / (norm + 1e-6)).clamp(max=1)
        for name, weight in self.weights.items():
            weight.grad = gradients[name] * shrink
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.hidden = hidden.detach()
        self.losses.append(loss.detach())
        if self.mean:
            self.average()

    @torch.no_grad()
    def average(self) -> None:
        """``w̄ ← w̄ + (w − w̄)/k``."""
        self.averaged += 1
        for name, weight in self.weights.items():
            self.mean[name] += (weight - self.mean[name]) / self.averaged

    def counting(self) -> Weights:
        """Copies of the weights that count: the mean where it has begun, else the last ones."""
        return {name: value.detach().clone() for name, value in (self.mean or self.weights).items()}

    def epoch(self, number: int, learning_rate: float, first: int, visit: Any, listen: Listener) -> None:
        """The steps of an epoch, from ``first`` on."""
        self.network.train()
        steps = len(self.training)
        pieces = self.training.epoch(stream(self.seed, "train order", number), first)
        for step, (piece, labels) in enumerate(pieces, start=first):
            if piece.fresh:
                self.hidden = None
            rate, seed = learning_rate * piece.pace, seed_of(self.seed, "train", number, step)
            self.step(piece.tokens, labels, rate, seed, f"step {step + 1} of epoch {number + 1} of the training")
            listen(Stepped("train", number * steps + step + 1))
            visit(step + 1)

    def measure(self, history: list[dict[str, Any]]) -> dict[str, float]:
        """The validation loss of the weights that count, after the epochs in ``history``. Keeps them if they are the
        best so far, and lets averaging begin if it is time."""
        counting = self.counting()
        loss = evaluate_text(self.network, self.valid, self.place, counting, self.objective)["loss"]
        before = [record["valid_loss"] for record in history]
        if not self.best or loss < min(before, default=float("inf")):
            self.best = counting
        found = {"valid_loss": loss, "valid_perplexity": perplexity(loss), "averaging": float(bool(self.mean))}
        patience = self.settings.text.patience
        if not self.mean and len(before) > patience and loss > min(before[:-patience]):
            self.mean = {name: torch.zeros_like(value) for name, value in counting.items()}
        return found

    def state(self, facts: Mapping[str, Any]) -> State:
        """Everything that moves."""
        tensors = {f"network/{name}": value for name, value in self.network.state_dict().items()}
        for kind, weights in (("mean", self.mean), ("best", self.best)):
            tensors |= {f"{kind}/{name}": value for name, value in weights.items()}
        for name, weight in self.weights.items():
            momentum = self.optimizer.state.get(weight, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum/{name}"] = momentum
        if self.hidden is not None:
            tensors["hidden"] = self.hidden
        if self.losses:
            tensors["losses"] = torch.stack(self.losses)
        return State(tensors, {**facts, "averaged": self.averaged})

    def restore(self, state: State) -> None:
        """Take up a state. Raises `Refused` if it is of another network."""
        device = self.place.device
        try:
            self.network.load_state_dict(state.under("network").tensors)
        except RuntimeError:
            raise Refused("the checkpoint is of another network than the run's configuration describes") from None
        self.mean, self.best = (
            {name: value.to(device).clone() for name, value in state.under(kind).tensors.items()}
            for kind in ("mean", "best")
        )
        for name, momentum in state.under("momentum").tensors.items():
            self.optimizer.state[self.weights[name]]["momentum_buffer"] = momentum.to(device)
        self.averaged = state.facts.get("averaged", 0)
        hidden = state.tensors.get("hidden")
        self.hidden = None if hidden is None else hidden.to(device)
        self.losses = list(state.tensors.get("losses", torch.empty(0)).to(device))


def train_text(
    network: nn.Module,
    settings: TrainSettings,
    training: TextBatches,
    valid: TextBatches,
    place: Place,
    seed: int,
    listen: Listener = ignore,
    keeper: Keeper | None = None,
    rate: float = 1.0,
    objective: Objective = CLASSES,
) -> list[dict[str, Any]]:
    """Train ``network`` in place, from the keeper's start on, and leave it with the weights that were best on the
    validation text; returns one record per epoch. Raises `Refused` if the loss diverged."""
    keeper = keeper or Keeper()
    trainer = LanguageTrainer(network, settings, training, valid, place, seed, rate, objective)
    found = keeper.take()
    history: list[dict[str, Any]] = list(found.facts.get("history", []))
    first, spent = found.facts.get("step", 0), found.facts.get("seconds", 0.0)
    if found.tensors:
        trainer.restore(found)
    steps = len(training)
    listen(Started("train", settings.epochs * steps, len(history) * steps + first))
    for epoch in range(len(history), settings.epochs):
        start = time.perf_counter() - spent
        now = rate * learning_rate(settings, epoch)

        def visit(step: int, start: float = start) -> None:
            keeper.visit(
                lambda: trainer.state({"step": step, "history": history, "seconds": time.perf_counter() - start})
            )

        trainer.epoch(epoch, now, first, visit, listen)
        loss = float(torch.stack(trainer.losses).mean())
        record = {"epoch": epoch, "train_loss": loss, "train_perplexity": perplexity(loss), "learning_rate": now}
        record |= trainer.measure(history)
        history.append(record | {"seconds": time.perf_counter() - start})
        listen(EpochEnded("train", history[-1]))
        first, spent, trainer.losses, trainer.hidden = 0, 0.0, [], None
        keeper.visit(lambda: trainer.state({"history": history}), boundary=True)
    with torch.no_grad():
        for name, weight in trainer.weights.items():
            weight.copy_(trainer.best[name])
    network.eval()
    return history


def text_step(
    network: nn.Module, settings: TrainSettings, batches: TextBatches, place: Place, objective: Objective = CLASSES
) -> Step:
    """The step of a retraining, as far as its memory goes. ``network`` is moved to its place."""
    place.put(network)

    def forward(count: int) -> Tensor:
        piece, labels = batches.first(count)
        mode = network.training
        network.train()
        try:
            with seeded(0, place.device), place.autocast():
                logits, _, extra = network(piece.tokens)
        finally:
            network.train(mode)
        loss = objective.loss(place.float(logits), labels)
        return loss if extra is None else loss + extra

    return Step("train.batch_size", settings.batch_size, place, forward, list(network.parameters()))


@torch.no_grad()
def evaluate_text(
    network: nn.Module,
    batches: TextBatches,
    place: Place,
    weights: Mapping[str, Tensor] | None = None,
    objective: Objective = CLASSES,
) -> dict[str, float]:
    """Mean ``loss`` in nats, ``perplexity`` and ``accuracy`` of the next word over a text, in evaluation mode.

    Every column is read from its beginning to its end, the hidden state carried on; ``weights`` stand in for the
    network's own.
    """
    network.eval()

    def answers() -> Iterator[tuple[Tensor, Tensor]]:
        hidden: Tensor | None = None
        for piece, labels in batches.ordered():
            with place.autocast():
                logits, hidden, _ = functional_call(network, dict(weights or {}), (piece.tokens, hidden))
            yield place.float(logits), labels

    found = measured(answers(), objective)
    return {"perplexity": perplexity(found["loss"]), **found}
