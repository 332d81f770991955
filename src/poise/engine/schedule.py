"""The learning rate of a retraining, epoch by epoch."""

from __future__ import annotations

import math

from poise.engine.settings import TrainSettings


def cosine(start: float, end: float, epoch: int, epochs: int) -> float:
    """``end + (start − end)·(1 + cos(π·epoch/epochs))/2``."""
    return end + (start - end) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def linear(start: float, end: float, epoch: int, epochs: int) -> float:
    """``start + (end − start)·epoch/epochs``."""
    return start + (end - start) * epoch / epochs


def exponential(start: float, end: float, epoch: int, epochs: int) -> float:
    """``start·(end/start)^(epoch/epochs)``: every epoch times the same factor, ``(end/start)^(1/epochs)``."""
    return float(start * (end / start) ** (epoch / epochs))


SCHEDULES = {"cosine": cosine, "linear": linear, "exponential": exponential}


def learning_rate(settings: TrainSettings, epoch: int) -> float:
    """The learning rate of an epoch, from 0 on: the schedule's, or ``start·(epoch + 1)/warm_up`` while it warms up.

    The schedule counts the epochs of the warm-up, so that the rate falls a little at its end: as in the released code
    of PC-DARTS (`train_imagenet.py`), which differs from this in one thing: its linear schedule has a kink, such that
    the last 5 epochs end at a fifth of an epoch's step above 0.

    Source: Xu et al., PC-DARTS (arXiv:1907.05737), section 4.3: linear from 0.5 to 0 after 5 epochs of warm-up; Liu et
    al., DARTS (arXiv:1806.09055), appendix A.3: from 0.1, times 0.97 after every epoch.
    """
    weights = settings.weights
    if epoch < settings.warm_up:
        return weights.learning_rate * (epoch + 1) / settings.warm_up
    return SCHEDULES[settings.schedule](weights.learning_rate, weights.final_learning_rate, epoch, settings.epochs)
