"""What an exported network says of itself: all that whoever uses it has to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from poise.data.labels import Seen
from poise.data.pixels import Pixels
from poise.data.standard import Standard
from poise.genotype import Genotype
from poise.spaces.samples import SampleShape
from poise.spaces.space import ImageShape


class Answering(Protocol):
    """A task, as far as exports know it."""

    def predictions(self, outputs: Tensor, seen: Seen) -> list[dict[str, Any]]:
        """What outputs mean, one for each input. Exports carry its source along, so that it may use the task's fields,
        ``seen``, torch, and what else stands at the top of its module."""
        ...


@dataclass(frozen=True)
class Card:
    """What an exported network is.

    Args:
        task: what it is for.
        facts: that as JSON can hold it, its ``name`` included.
        seen: of the labels that it was trained on.
        shape: what it takes and gives.
        pixels: what the numbers in an image mean.
        genotype: the architecture.
        streamed: whether it was trained on parts of images of any size, so that it is shown their middles.
    """

    task: Answering
    facts: Mapping[str, Any]
    seen: Seen
    shape: ImageShape
    pixels: Pixels
    genotype: Genotype
    streamed: bool = False

    @property
    def input_facts(self) -> dict[str, Any]:
        """What it takes, as JSON can hold it."""
        return {
            "layout": "NCHW", "dtype": "float32", "channels": self.shape.channels, "size": list(self.shape.size),
            **self.pixels.facts, "streamed": self.streamed, "text": self.input_text,
        }  # fmt: skip

    @property
    def input_text(self) -> str:
        """The same for a person, in one line."""
        height, width = self.shape.size
        return (
            f"[batch, {self.shape.channels}, {height}, {width}], channels first, float32: {self.pixels}; the network "
            "itself subtracts the mean and divides by the standard deviation"
        )

    @property
    def output_text(self) -> str:
        """What it gives, for a person, in one line. Exports paste it into code, so that no name is in it."""
        sides = ", ".join(map(str, self.shape.answer))
        return f"outputs [batch, {sides}], {self.facts['name']}"

    @property
    def metadata(self) -> dict[str, str]:
        """What a file says about itself, name -> JSON text."""
        return _metadata(self)


@dataclass(frozen=True)
class SampleCard:
    """What an exported network is that takes samples, as ``shape`` says; see `Card`. ``standard`` is what it
    standardises them by."""

    facts: Mapping[str, Any]
    seen: Seen
    shape: SampleShape
    standard: Standard
    genotype: Genotype

    @property
    def input_facts(self) -> dict[str, Any]:
        """What it takes, as JSON can hold it."""
        return {**self.shape.facts, **self.standard.facts, "text": self.input_text}

    @property
    def input_text(self) -> str:
        """The same for a person, in one line."""
        return f"[batch, ...] of {self.shape.described}; the network itself subtracts the mean and divides by the std"

    @property
    def output_text(self) -> str:
        """What it gives, for a person, in one line."""
        return f"outputs [batch, ...], {self.facts['name']}"

    @property
    def metadata(self) -> dict[str, str]:
        """What a file says about itself, name -> JSON text."""
        return _metadata(self)


def _metadata(card: Card | SampleCard) -> dict[str, str]:
    about = {"task": dict(card.facts), "labels": card.seen.facts, "input": card.input_facts}
    return {"genotype": card.genotype.to_json(), **{name: json.dumps(value) for name, value in about.items()}}
