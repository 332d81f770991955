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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.data.batched import Passing
from poise.data.text_batches import TextBatches
from poise.engine.batch_memory import Step
from poise.engine.checkpoint import State
from poise.engine.checkpointer import Checkpointer
from poise.engine.device import Place
from poise.engine.events import Listener, ignore
from poise.engine.loop import Course, Record, Sums, run
from poise.engine.objective import NEXT_WORD, measured, perplexity
from poise.engine.settings import TrainSettings
from poise.engine.streams import handed
from poise.engine.train import NetworkDescent
from poise.supernet.draws import Draws

Weights = dict[str, Tensor]


@dataclass(eq=False)
class LanguageTrainer:
    """A language model in training. Satisfies `poise.engine.loop.Trainer`.

    Args:
        descent: of a ``network(tokens, hidden) -> Reading``.
        training, valid: the two texts.
        listen: hears if steps cannot be captured.
    """

    descent: NetworkDescent
    training: TextBatches
    valid: TextBatches
    listen: Listener = ignore
    hidden: Tensor | None = field(default=None, init=False)
    mean: Weights = field(default_factory=dict, init=False)
    averaged: int = field(default=0, init=False)
    best: Weights = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._captured = self.descent.captured(self.listen)

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """What is trained."""
        return self.descent.weights

    def begin(self, epoch: int, first: int) -> Passing:
        self._captured.forget()
        return self.training.epoch(self.descent.begin(epoch), first)

    def step(self, number: int, batch: tuple[Any, Tensor], sums: Sums) -> None:
        """One step on a piece that starts from `hidden`, which then is the piece's last hidden state."""
        piece, labels = batch
        descent, hidden = self.descent, None if piece.fresh else self.hidden
        descent.announce(number, piece.pace)
        draws = descent.draws(number, self._captured)
        given = (piece.tokens, labels) if hidden is None else (piece.tokens, labels, hidden)
        loss, self.hidden = self._captured(lambda given: self.move(draws, *given), given)
        sums.add(loss=loss)
        if self.mean:
            self.average()
        descent.watch.visit()

    def move(self, draws: Draws, tokens: Tensor, labels: Tensor, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The device's part of a step: it launches, and waits for nothing. The loss and the last hidden state."""
        loss, total, hidden = _losses(self.descent.network, tokens, labels, hidden, self.descent.place, draws)
        self.descent.move(total)
        return loss.detach(), hidden.detach()

    @torch.no_grad()
    def average(self) -> None:
        """``w̄ ← w̄ + (w − w̄)/k``."""
        self.averaged += 1
        mean = list(self.mean.values())
        away = torch._foreach_sub([self.weights[name] for name in self.mean], mean)
        torch._foreach_add_(mean, torch._foreach_div(away, self.averaged))

    def counting(self) -> Weights:
        """Copies of the weights that count: the mean where it has begun, else the last ones."""
        return {name: value.detach().clone() for name, value in (self.mean or self.weights).items()}

    def record(self, sums: Sums, history: Sequence[Mapping[str, Any]]) -> Record:
        self.descent.watch.check()
        self.hidden = None
        loss, rate = float(sums.steps("loss").mean()), self.descent.learning_rate
        found = {"train_loss": loss, "train_perplexity": perplexity(loss), "learning_rate": rate}
        return found | self.measure(history)

    def measure(self, history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The validation loss of the weights that count, after the epochs in ``history``. Keeps them if they are the
        best so far, and lets averaging begin if it is time."""
        counting = self.counting()
        loss = evaluate_text(self.descent.network, self.valid, self.descent.place, counting)["loss"]
        before = [record["valid_loss"] for record in history]
        if not self.best or loss < min(before, default=float("inf")):
            self.best = counting
        found = {"valid_loss": loss, "valid_perplexity": perplexity(loss), "averaging": float(bool(self.mean))}
        patience = self.descent.settings.text.patience
        if not self.mean and len(before) > patience and loss > min(before[:-patience]):
            self.mean = {name: torch.zeros_like(value) for name, value in counting.items()}
        return found

    def state(self) -> State:
        own = {"mean": self.mean, "best": self.best, "averaged": self.averaged, "hidden": self.hidden}
        return self.descent.state() | own

    def restore(self, state: State) -> None:
        self.descent.restore(state)
        device = self.descent.place.device
        self.mean, self.best = (
            {name: value.to(device, copy=True) for name, value in state[kind].items()} for kind in ("mean", "best")
        )
        self.averaged, hidden = state["averaged"], state["hidden"]
        self.hidden = None if hidden is None else hidden.to(device)


def train_text(
    network: nn.Module,
    settings: TrainSettings,
    training: TextBatches,
    valid: TextBatches,
    place: Place,
    seed: int,
    listen: Listener = ignore,
    saver: Checkpointer | None = None,
    rate: float = 1.0,
) -> list[Record]:
    """Train ``network`` in place, from the saver's start on, and leave it with the weights that were best on the
    validation text; returns one record per epoch. Raises `Refused` if the loss diverged."""
    trainer = LanguageTrainer(NetworkDescent(network, settings, place, seed, rate), training, valid, listen)
    history = run(trainer, Course("train", settings.epochs, len(training)), listen, saver or Checkpointer())
    with torch.no_grad():
        for name, weight in trainer.weights.items():
            weight.copy_(trainer.best[name])
    network.eval()
    return history


def _losses(
    network: nn.Module, tokens: Tensor, labels: Tensor, hidden: Tensor | None, place: Place, draws: Draws
) -> tuple[Tensor, Tensor, Tensor]:
    """Of a piece: its loss, the same with the network's regularisers, and its last hidden state."""
    chance, drawn = handed(network, draws, place.device)
    with chance, place.autocast():
        logits, hidden, extra = network(tokens, hidden, **drawn)
    loss = NEXT_WORD.loss(place.float(logits), labels)
    return loss, loss if extra is None else loss + place.float(extra), hidden


def text_step(network: nn.Module, settings: TrainSettings, batches: TextBatches, place: Place) -> Step:
    """The step of a retraining, as far as its memory goes. ``network`` is moved to its place."""
    place.put(network)

    def forward(count: int) -> Tensor:
        mode = network.training
        network.train()
        try:
            piece, labels = batches.first(count)
            return _losses(network, piece.tokens, labels, None, place, Draws(0, place.device))[1]
        finally:
            network.train(mode)

    return Step("train.batch_size", settings.batch_size, place, forward, list(network.parameters()))


@torch.no_grad()
def evaluate_text(
    network: nn.Module, batches: TextBatches, place: Place, weights: Mapping[str, Tensor] | None = None
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

    return measured(answers(), NEXT_WORD)
