"""What it costs to divide a step over several processes: the same work side by side, alone and together.

Each process does its share of a step, once without knowing of the others, once as one of them; both while the others do
the same, so that memory and caches are shared in both. What the second takes more is sums and waiting. Every figure is
a median over rounds in which both take turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from poise.bench.device_clock import seconds_of
from poise.bench.messages import Messages
from poise.bench.speed import step_of
from poise.bench.stepper import POISE, Stepper, random_images
from poise.engine.device import Place
from poise.engine.settings import Normalisation
from poise.methods.preset import METHODS
from poise.spaces.space import Space
from poise.supernet.processes import ALONE

NORMALISATIONS: tuple[Normalisation, ...] = ("local", "global")


@dataclass(frozen=True)
class Scaled:
    """A step of a method, divided.

    Args:
        name: of the method, and how it normalises.
        alone, together: median seconds of the slowest process for its share of a step, without the others and with
            them.
        messages, megabytes: how many collectives a step takes, and how much each process puts into them.
    """

    name: str
    alone: float
    together: float
    messages: int
    megabytes: float

    @property
    def share(self) -> float:
        """The part of a step that goes into sums and waiting."""
        return max(0.0, 1 - self.alone / self.together)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"share": self.share}

    @property
    def row(self) -> tuple[str, ...]:
        """As a row of a table."""
        seconds = (f"{self.alone:.4g}", f"{self.together:.4g}", f"{self.share:.1%}")
        return (self.name, *seconds, f"{self.messages:,}", f"{self.megabytes:.3g}")


HEAD = ("what", "alone", "together", "sums, waiting", "messages", "MB")


def scaling(
    space: Space,
    *,
    batch_size: int,
    image_size: int,
    rounds: int,
    device: str,
    precision: str,
    methods: Sequence[str] = (),
    tell: Callable[[str], None] = lambda text: None,
) -> list[Scaled]:
    """Measure every method's step, and plain DARTS's with global normalisation; in all processes at once. The arguments
    are those of `poise.bench.speed.speed`."""
    place = Place.open(device, precision)
    whole = random_images(batch_size, image_size)
    found: list[Scaled] = []
    for name, normalisation in _cases(methods):
        method, variant = METHODS[name].build(), replace(POISE, normalisation=normalisation)
        part = random_images(len(place.processes.part(whole.labels)), image_size)
        alone = Stepper(space, method, part, replace(place, processes=ALONE), variant)
        together = Stepper(space, method, whole, place, variant)
        together.step()
        with Messages() as messages:
            together.step()
        times: dict[str, list[float]] = {"alone": [], "together": []}
        for _ in range(rounds + 1):
            for title, stepper in (("alone", alone), ("together", together)):
                place.processes.any(False)  # all begin at once
                own = torch.tensor(seconds_of(stepper.step, place.device), dtype=torch.float64)
                times[title].append(float(place.processes.each(own).max()))
        medians = {title: statistics.median(values[1:]) for title, values in times.items()}
        sent = {"messages": messages.count, "megabytes": messages.bytes / 1e6}
        found.append(Scaled(f"{name}, {normalisation}", **medians, **sent))  # type: ignore[arg-type]
        tell(f"{found[-1].name}: {found[-1].share:.1%} of a step are sums and waiting")
    return found


def _cases(methods: Sequence[str]) -> list[tuple[str, Normalisation]]:
    """Methods that differ in their steps."""
    seen: list[Any] = []
    cases: list[tuple[str, Normalisation]] = []
    for name in methods or tuple(METHODS):
        method = METHODS[name].build()
        if step_of(method) not in seen and method.trains_alphas(50):
            seen.append(step_of(method))
            cases += [(name, each) for each in (NORMALISATIONS if name == "darts" else NORMALISATIONS[:1])]
    return cases
