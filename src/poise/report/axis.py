"""The axis of a chart: round ticks, and labels that can be read by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

FLAT = 1e-3
"""A range smaller than this part of its values is drawn as one ten times as large: what moves by less stands still."""


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, with ``ticks`` and their ``labels``."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def place(self, value: float) -> float:
        """Where a value lies: 0 at ``low``, 1 at ``high``."""
        return (value - self.low) / (self.high - self.low)


def axis(values: Sequence[float], most: int = 5) -> Axis:
    """An axis that holds all values, with at most ``most`` steps between ticks.

    Args:
        values: at least one, finite.
        most: how many steps of 1, 2 or 5 times a power of ten there are at most.
    """
    low, high = min(values), max(values)
    size = max(abs(low), abs(high))
    if high - low < FLAT * size or size == 0:
        middle, half = (low + high) / 2, 5 * FLAT * size or 0.5
        low, high = middle - half, middle + half
    step = _step(high - low, most)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last - first > most:  # where both ends had to be rounded
        step = _step((last - first) * step, most)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(number * step for number in range(first, last + 1))
    return Axis(min(ticks[0], low), max(ticks[-1], high), ticks, tuple(label(tick, step) for tick in ticks))


def epochs_axis(first: int, last: int, most: int = 5) -> Axis:
    """An axis of whole epochs, without room beside the first and the last."""
    span = max(last - first, 1)
    step = max(1, round(_step(span, most)))
    ticks = [number for number in range(first, last + 1) if number % step == 0 or number == first]
    if len(ticks) > 1 and ticks[1] - ticks[0] < step / 2:
        ticks = [ticks[0], *ticks[2:]]
    return Axis(float(first), float(first + span), tuple(map(float, ticks)), tuple(map(str, ticks)))


def label(value: float, step: float) -> str:
    """A tick's label, with as many digits as tell it from the next one: ``1.3865``, never ``1e-5+1.386``."""
    value = 0.0 if abs(value) < step / 1e6 else value
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if digits > 6 or abs(value) >= 1e6:
        significant = max(1, math.ceil(math.log10(max(abs(value), step) / step)) + 1)
        return f"{value:.{significant}g}"
    return f"{value:,.{digits}f}".replace("-", "−")


def _step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5, 10 … of which ``most`` reach over a span."""
    power = float(10.0 ** math.floor(math.log10(span / most)))
    return next(times * power for times in (1, 2, 5, 10) if times * power * most >= span * (1 - 1e-9))
