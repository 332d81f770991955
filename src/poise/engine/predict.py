"""Predictions for new data, one after the other: what is read, what a network makes of it, what that means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor, nn

from poise.data.intake import Intake
from poise.data.normalised import Normalised
from poise.data.pixels import Pixels
from poise.data.sample_intake import SampleIntake
from poise.data.standard import Standard
from poise.engine.device import Place
from poise.errors import Refused
from poise.supernet.trees import Tree, called, mapped

Prediction = dict[str, Any]
"""What a network says of one input, by name; as JSON can hold it, but for masks, which are tensors."""


@dataclass(frozen=True)
class Predicted:
    """One input, and what a network says of it: ``one["class"]``.

    Args:
        name: what a person calls it: its path, or ``image 3``.
        place: of files made of it, in their folder and without an ending.
        prediction: empty if it could not be read.
        error: why not; else empty.
    """

    name: str
    place: PurePath
    prediction: Prediction
    error: str = ""

    def __getitem__(self, key: str) -> Any:
        """A part of the prediction. Raises `Refused` if there is none."""
        if self.error:
            raise Refused(self.error)
        return self.prediction[key]


@dataclass(frozen=True)
class Predictor:
    """A network, ready to predict.

    Args:
        intake: how inputs come to the form that it takes.
        forward: what `Intake.batches` gives to outputs.
        answers: what the outputs mean, one for each input.
    """

    intake: Intake | SampleIntake
    forward: Callable[[Any], Tensor]
    answers: Callable[[Tensor], list[Prediction]]

    def __call__(self, inputs: Any, batch_size: int) -> Iterator[Predicted]:
        """A prediction for each of ``inputs``, in their order; ``batch_size`` of them are held at a time. What cannot
        be read has an error instead. Raises `Refused` for what are no inputs at all."""
        for batch in self.intake.batches(inputs, batch_size):
            found = iter([] if batch.inputs is None else self.answers(self.forward(batch.inputs)))
            for number, given in enumerate(batch.given):
                error = batch.errors.get(number, "")
                yield Predicted(given.name, given.place, {} if error else next(found), error)

    def example(self) -> Prediction:
        """The prediction for a blank input: what every prediction holds."""
        return self.answers(self.forward(self.intake.example()))[0]


def forward_images(network: nn.Module, pixels: Pixels, place: Place) -> Callable[[Tensor], Tensor]:
    """The forward pass of a network in evaluation mode, put where ``place`` says: from pixels ``[n, channels, height,
    width]``, uint8 or floats, to outputs on the CPU."""
    place.put(network.eval())

    @torch.no_grad()
    def forward(images: Tensor) -> Tensor:
        normalised = Normalised(
            images.shape[1], pixels.mean, pixels.std, 255.0 if images.dtype == torch.uint8 else 1.0,
            device=place.device, dtype=place.dtype, channels_last=place.channels_last,
        )  # fmt: skip
        inputs = normalised.finished(normalised(images.to(place.device).permute(0, 2, 3, 1).contiguous()))
        with place.autocast():
            outputs: Tensor = network(inputs)
        return place.float(outputs).cpu()

    return forward


def forward_samples(network: nn.Module, standard: Standard, place: Place) -> Callable[[Tree], Any]:
    """The same of samples, from trees of tensors ``[n, ...]`` as they come."""
    place.put(network.eval())

    @torch.no_grad()
    def forward(inputs: Tree) -> Any:
        placed = mapped(lambda values: values.to(place.device), standard(inputs, place.dtype))
        with place.autocast():
            outputs = called(network, placed)
        return mapped(Tensor.cpu, place.float(outputs))

    return forward
