"""Retraining a discrete network from scratch, and evaluating it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from poise.data.batched import Batched, Passing
from poise.engine.checkpoint import State
from poise.engine.device import Place
from poise.engine.divergence import check_finite
from poise.engine.events import EpochEnded, Listener, Started, Stepped, ignore
from poise.engine.keeper import Keeper
from poise.engine.objective import CLASSES, CrossEntropy, Objective, measured
from poise.engine.schedule import learning_rate
from poise.engine.settings import TrainSettings
from poise.engine.streams import seed_of, seeded, stream
from poise.errors import Refused
from poise.spaces.space import has_heads


class Forward(nn.Module):
    """The forward pass of a training step: a network, its auxiliary head if it has one, and their losses.

    ``objective``: None is cross-entropy with the settings' label smoothing.
    """

    def __init__(
        self, network: nn.Module, settings: TrainSettings, place: Place, objective: Objective | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self._auxiliary = settings.auxiliary
        self.objective = objective or CrossEntropy(settings.label_smoothing)
        self._place = place

    def forward(self, images: Tensor, labels: Tensor, drop: float) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, their loss, and the loss to descend, with drop-path probability ``drop``."""
        with self._place.autocast():
            if has_heads(self.network):
                logits, side = self.network.heads(images, drop)
            else:
                logits, side = self.network(images), None
        loss = total = self._loss(logits, labels)
        if side is not None:
            total = loss + self._auxiliary * self._loss(side, labels)
        return logits, loss, total

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return self.objective.loss(self._place.float(logits), labels)


def train(
    network: nn.Module,
    settings: TrainSettings,
    batches: Batched,
    place: Place,
    seed: int,
    listen: Listener = ignore,
    keeper: Keeper | None = None,
    rate: float = 1.0,
    objective: Objective | None = None,
) -> list[dict[str, Any]]:
    """Train ``network`` in place, from the keeper's start on; returns one record per epoch.

    SGD with a scheduled learning rate, clipped gradients, drop-path growing linearly to ``settings.drop_path``, and the
    auxiliary head's loss times ``settings.auxiliary`` (Liu et al., DARTS, arXiv:1806.09055, appendix A). ``objective``
    is as in `Forward`.

    Raises:
        Refused: drop-path or an auxiliary head asked of a network that has neither; the loss diverged.
    """
    if not has_heads(network) and (settings.drop_path or settings.auxiliary):
        raise Refused(f"{type(network).__name__} has no drop-path and no auxiliary head; set both to 0")
    keeper = keeper or Keeper()
    forward = Forward(place.put(network), settings, place, objective).train()
    named = dict(network.named_parameters())
    parameters = list(named.values())
    weights = settings.weights
    optimizer = torch.optim.SGD(
        parameters, weights.learning_rate, weights.momentum, 0, weights.weight_decay, weights.nesterov
    )
    steps = len(batches)
    found = keeper.take()
    history: list[dict[str, Any]] = list(found.facts.get("history", []))
    first, spent = found.facts.get("step", 0), found.facts.get("seconds", 0.0)
    losses, correct = (list(found.tensors.get(name, torch.empty(0)).to(place.device)) for name in ("losses", "correct"))
    if found.tensors:
        _restore(network, optimizer, named, found)
    listen(Started("train", settings.epochs * steps, len(history) * steps + first))
    for epoch in range(len(history), settings.epochs):
        start = time.perf_counter() - spent
        now = rate * learning_rate(settings, epoch)
        for group in optimizer.param_groups:
            group["lr"] = now
        drop = settings.drop_path * epoch / settings.epochs
        with closing(batches.epoch(stream(seed, "train order", epoch), first)) as passing:
            for step, (images, labels) in enumerate(passing, start=first):
                with seeded(seed_of(seed, "train", epoch, step), place.device):
                    logits, loss, total = forward(images, labels, drop)
                optimizer.zero_grad()
                cast(Any, total).backward()
                gradients = {name: value.grad for name, value in named.items() if value.grad is not None}
                norm = nn.utils.get_total_norm(gradients.values())
                advice = f"try a smaller train.weights.learning_rate (now {now:.4g}), or --on-nan rollback"
                check_finite(
                    total,
                    norm,
                    partial(dict, gradients),
                    f"step {step + 1} of epoch {epoch + 1} of the training",
                    advice,
                )
                nn.utils.clip_grads_with_norm_(parameters, weights.clip, norm)
                optimizer.step()
                losses.append(loss.detach())
                correct.append(forward.objective.hits(logits, labels).sum())
                listen(Stepped("train", epoch * steps + step + 1))

                facts = {"step": step + 1, "history": history}
                keeper.visit(partial(_state, network, optimizer, named, facts, losses, correct, start))
        mean_loss = float(torch.stack(losses).mean())
        record = {
            "epoch": epoch,
            "train_loss": mean_loss,
            "train_accuracy": float(torch.stack(correct).sum()) / (steps * batches.batch_size),
            "learning_rate": now,
            "drop_path": drop,
            "seconds": time.perf_counter() - start,
        }
        history.append(record)
        listen(EpochEnded("train", record))
        first, spent, losses, correct = 0, 0.0, [], []
        keeper.visit(lambda: State(_tensors(network, optimizer, named), {"history": history}), boundary=True)
    network.eval()
    return history


def _state(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, Tensor],
    facts: Mapping[str, Any],
    losses: Sequence[Tensor],
    correct: Sequence[Tensor],
    start: float,
) -> State:
    """In the middle of an epoch that began at ``start``."""
    sums = {"losses": torch.stack([*losses]), "correct": torch.stack([*correct])}
    seconds = {"seconds": time.perf_counter() - start}
    return State({**_tensors(network, optimizer, parameters), **sums}, {**facts, **seconds})


def _tensors(
    network: nn.Module, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    for name, parameter in parameters.items():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    return tensors


def _restore(
    network: nn.Module, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor], state: State
) -> None:
    try:
        network.load_state_dict(state.under("network").tensors)
    except RuntimeError:
        raise Refused("the checkpoint is of another network than that of the run's configuration or module") from None
    for name, momentum in state.under("momentum").tensors.items():
        optimizer.state[parameters[name]]["momentum_buffer"] = momentum.to(parameters[name].device)


@torch.no_grad()
def evaluate(network: nn.Module, batches: Batched, place: Place, objective: Objective = CLASSES) -> dict[str, float]:
    """``accuracy`` in [0, 1] and mean ``loss`` of a network, in evaluation mode, over all images."""
    network.eval()

    def answers(passing: Passing) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in passing:
            with place.autocast():
                logits: Tensor = network(images)
            yield place.float(logits), labels

    with closing(batches.ordered()) as passing:
        return measured(answers(passing), objective)
