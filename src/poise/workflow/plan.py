"""What a search would take: measured on a few steps, before it is begun."""

from __future__ import annotations

import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch

from poise.config.settings import RunSettings
from poise.engine.events import Event, Stepped
from poise.engine.search import one_epoch
from poise.engine.searcher import Epoch, Searcher
from poise.methods.slots import Progress
from poise.workflow.prepare import Preparation
from poise.workflow.stages import rehearsal


@dataclass(frozen=True)
class Plan:
    """What a search would take: counts, and an estimate from a few measured steps."""

    steps: int
    parameters: int
    alphas: int
    training_images: int
    search_images: int
    seconds_per_step: float
    memory_bytes: int
    unit: str = "images"
    """What there are ``training_images`` of: images, or words of text."""

    @property
    def seconds(self) -> float:
        """All steps; selection by perturbation and figures not included."""
        return self.steps * self.seconds_per_step


def dry_run(settings: RunSettings, *, data: Any = None, steps: int = 3) -> Plan:
    """Measure ``steps`` steps of every stage's last epoch (when every slot is at work), after one that warms up. Writes
    nothing. Parameters and alphas are those of the stage that has the most."""
    prepared = Preparation.of(settings, data)
    searchers = rehearsal(prepared)
    shares = [searcher.settings.epochs / settings.search.epochs for searcher in searchers]
    measured = [_seconds_per_step(searcher, steps) for searcher in searchers]
    place = prepared.place.device
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if place.type != "cpu":
        used = int(torch.get_device_module(place).max_memory_allocated())
    training, searching = prepared.material.halves
    return Plan(
        steps=settings.search.epochs * len(searchers[0].training),
        parameters=max(sum(weight.numel() for weight in searcher.weights.values()) for searcher in searchers),
        alphas=max(sum(alphas.numel() for alphas in searcher.alphas.values()) for searcher in searchers),
        training_images=len(training),
        search_images=len(searching),
        seconds_per_step=sum(share * seconds for share, seconds in zip(shares, measured, strict=True)),
        memory_bytes=used,
        unit=prepared.material.unit,
    )


def _seconds_per_step(searcher: Searcher, steps: int) -> float:
    times: list[float] = []

    class Enough(Exception):
        pass

    def watch(event: Event) -> None:
        if isinstance(event, Stepped):
            times.append(time.perf_counter())
        if len(times) > steps + 1:
            raise Enough

    epochs = searcher.settings.epochs
    progress = Progress(epochs - 1, epochs, searcher.stage)
    times.append(time.perf_counter())
    with suppress(Enough):
        one_epoch(searcher, Epoch(progress, searcher.settings.weights.learning_rate, ("dry run",)), watch)
    measured = times[1:] if len(times) > 2 else times
    return (measured[-1] - measured[0]) / (len(measured) - 1)
