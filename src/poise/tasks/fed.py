"""What a retraining works with, whatever its data is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from poise.data.batched import Batched
from poise.data.labels import Seen
from poise.data.pixels import Pixels
from poise.errors import Refused
from poise.spaces.space import ImageShape

Feeding = Callable[[int], Batched]
"""Batches of so many."""


@dataclass(frozen=True)
class Fed:
    """The data of a retraining, opened.

    Args:
        shape: what the network takes and gives.
        seen: what is known of the training split's labels.
        pixels: what the numbers that go in mean.
        training: batches to train on.
        testing: batches to test on; None where there is no test split.
        fingerprint: of everything that is seen.
    """

    shape: ImageShape
    seen: Seen
    pixels: Pixels
    training: Feeding
    testing: Feeding | None
    fingerprint: Callable[[], str]


def check_names(names: Sequence[str], expected: Sequence[str], named: str, what: str) -> None:
    """Raise `Refused` unless the names of the data's labels are those that a network was trained for."""
    if tuple(names) != tuple(expected):
        raise Refused(
            f"{what} was trained for {len(expected)} {named} ({', '.join(expected)[:60]}); the data has {len(names)} "
            f"({', '.join(names)[:60]})"
        )
