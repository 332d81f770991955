"""What an exported network says of itself: all that whoever uses it has to know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from poise.data.labels import Seen
from poise.genotype import Genotype
from poise.spaces.sample_shape import SampleShape
from poise.spaces.space import ImageShape


class Answering(Protocol):
    """A task, as far as exports know it."""

    def predictions(self, outputs: Tensor, seen: Seen) -> list[dict[str, Any]]:
        """What outputs mean, one for each input. Exports carry its source along, so that it may use the task's fields,
        ``seen``, torch, and what else stands at the top of its module."""
        ...


class Taken(Protocol):
    """What goes into a network, as far as exports know it."""

    @property
    def shape(self) -> ImageShape | SampleShape:
        """What the network takes and gives."""
        ...

    @property
    def told(self) -> Mapping[str, Any]:
        """What a batch must be, as JSON can hold it."""
        ...

    @property
    def text(self) -> str:
        """The same for a person, in one line."""
        ...


@dataclass(frozen=True)
class Card:
    """What an exported network is.

    Args:
        task: what it is for.
        facts: that as JSON can hold it, its ``name`` included.
        seen: of the labels that it was trained on.
        inputs: what it takes.
        genotype: the architecture.
    """

    task: Answering
    facts: Mapping[str, Any]
    seen: Seen
    inputs: Taken
    genotype: Genotype

    @property
    def takes(self) -> dict[str, Any]:
        """What it takes, as JSON can hold it; as ``text`` for a person."""
        return {**self.inputs.told, "text": self.inputs.text}

    @property
    def output_text(self) -> str:
        """What it gives, for a person, in one line. Exports paste it into code, so that no name is in it."""
        shape = self.inputs.shape
        sides = map(str, shape.answer) if isinstance(shape, ImageShape) else ["..."]
        return f"outputs [batch, {', '.join(sides)}], {self.facts['name']}"

    @property
    def metadata(self) -> dict[str, str]:
        """What a file says about itself, name -> JSON text."""
        about = {"task": dict(self.facts), "labels": self.seen.facts, "input": self.takes}
        return {"genotype": self.genotype.to_json(), **{name: json.dumps(value) for name, value in about.items()}}
