"""Retraining a discrete network from scratch, and evaluating it."""

from __future__ import annotations

import math
import time
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.data.batches import Batches
from poise.engine.device import Place
from poise.engine.events import EpochEnded, Listener, Started, Stepped, ignore
from poise.engine.search import cosine
from poise.engine.settings import TrainSettings
from poise.engine.streams import seed_of, seeded, stream
from poise.errors import Refused
from poise.spaces.space import Heads


def train(
    network: nn.Module,
    settings: TrainSettings,
    batches: Batches,
    place: Place,
    seed: int,
    listen: Listener = ignore,
) -> list[dict[str, Any]]:
    """Train ``network`` in place; returns one record per epoch.

    SGD with a cosine learning rate, clipped gradients, drop-path growing linearly to ``settings.drop_path``, and the
    auxiliary head's loss times ``settings.auxiliary`` (Liu et al., DARTS, arXiv:1806.09055, appendix A).

    Raises:
        Refused: drop-path or an auxiliary head asked of a network that has neither; the loss diverged.
    """
    if not isinstance(network, Heads) and (settings.drop_path or settings.auxiliary):
        raise Refused(f"{type(network).__name__} has no drop-path and no auxiliary head; set both to 0")
    place.put(network).train()
    parameters = list(network.parameters())
    weights = settings.weights
    optimizer = torch.optim.SGD(
        parameters, weights.learning_rate, weights.momentum, 0, weights.weight_decay, weights.nesterov
    )
    steps = len(batches)
    listen(Started("train", settings.epochs * steps))
    history = []
    for epoch in range(settings.epochs):
        start = time.perf_counter()
        rate = cosine(weights.learning_rate, weights.final_learning_rate, epoch, settings.epochs)
        for group in optimizer.param_groups:
            group["lr"] = rate
        drop = settings.drop_path * epoch / settings.epochs
        losses, correct = [], []
        for step, (images, labels) in enumerate(batches.epoch(stream(seed, "train order", epoch))):
            with place.autocast(), seeded(seed_of(seed, "train", epoch, step), place.device):
                logits, side = network.heads(images, drop) if isinstance(network, Heads) else (network(images), None)
            loss = F.cross_entropy(place.float(logits), labels, label_smoothing=settings.label_smoothing)
            total = loss
            if side is not None:
                smoothing = settings.label_smoothing
                total = loss + settings.auxiliary * F.cross_entropy(
                    place.float(side), labels, label_smoothing=smoothing
                )
            optimizer.zero_grad()
            cast(Any, total).backward()
            nn.utils.clip_grad_norm_(parameters, weights.clip)
            optimizer.step()
            losses.append(loss.detach())
            correct.append((logits.detach().argmax(dim=1) == labels).sum())
            listen(Stepped("train", epoch * steps + step + 1))
        mean_loss = float(torch.stack(losses).mean())
        if not math.isfinite(mean_loss):
            raise Refused(
                f"training diverged in epoch {epoch} (loss {mean_loss}); try a smaller train.weights.learning_rate "
                f"(now {rate:.4g})"
            )
        record = {
            "epoch": epoch,
            "train_loss": mean_loss,
            "train_accuracy": float(torch.stack(correct).sum()) / (steps * batches.batch_size),
            "learning_rate": rate,
            "drop_path": drop,
            "seconds": time.perf_counter() - start,
        }
        history.append(record)
        listen(EpochEnded("train", record))
    network.eval()
    return history


@torch.no_grad()
def evaluate(network: nn.Module, batches: Batches, place: Place) -> dict[str, float]:
    """``accuracy`` in [0, 1] and mean ``loss`` of a network, in evaluation mode, over all images."""
    network.eval()
    correct, loss, images = 0, 0.0, 0
    for batch, labels in batches.ordered():
        with place.autocast():
            logits: Tensor = network(batch)
        loss += float(F.cross_entropy(place.float(logits), labels, reduction="sum"))
        correct += int((logits.argmax(dim=1) == labels).sum())
        images += len(labels)
    return {"accuracy": correct / images, "loss": loss / images}
