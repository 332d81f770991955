"""Data that is no images, for a module of your own, and what goes into a network that is trained on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.config.settings import RunSettings
from poise.data import Source
from poise.data.fingerprint import samples_fingerprint
from poise.data.labels import Labels
from poise.data.overlap import shared_rows
from poise.data.sample_batches import SampleBatches
from poise.data.sample_intake import SampleIntake
from poise.data.sample_source import SampleSource
from poise.data.samples import Samples
from poise.data.standard import Standard
from poise.engine.device import Place
from poise.engine.events import Listener
from poise.engine.predict import forward_samples
from poise.errors import Refused
from poise.export.standardise import Standardised
from poise.spaces.sample_shape import SampleShape
from poise.supernet.trees import alike, in_order_of

IMAGES_ONLY = (
    "data.size", "data.streaming", "data.workers", "search.max_size",
    *(f"{part}.{name}" for part in ("search", "train") for name in ("crop_padding", "flip", "cutout")),
    "train.crop_area", "train.colour_jitter",
)  # fmt: skip
"""Settings that mean nothing for samples."""


@dataclass(frozen=True)
class SampleInputs:
    """Samples that go into a network, standardised by ``standard``: saved with it, and used as
    `poise.tasks.images.ImageInputs` are."""

    shape: SampleShape
    standard: Standard

    kind: ClassVar[str] = "samples"

    @property
    def described(self) -> str:
        return self.shape.described

    @property
    def facts(self) -> dict[str, Any]:
        return {"kind": self.kind, "shape": self.shape.facts, **self.standard.facts}

    @staticmethod
    def of(facts: Mapping[str, Any]) -> SampleInputs:
        """From `facts`. Raises `KeyError` or `Refused` for what is none."""
        return SampleInputs(SampleShape.of(facts["shape"]), Standard.read(facts))

    @property
    def told(self) -> dict[str, Any]:
        return {**self.shape.facts, **self.standard.facts}

    @property
    def text(self) -> str:
        return f"[batch, ...] of {self.shape.described}; the network itself subtracts the mean and divides by the std"

    def check_kind(self, source: Source | SampleSource) -> None:
        if not isinstance(source, SampleSource):
            raise Refused(f"the network takes {self.shape.described}, and {source.name} holds images")

    def tested(self, source: SampleSource) -> Samples:
        tested = source.load("test")
        ordered = Samples(in_order_of(self.shape.inputs, tested.inputs), tested.labels, tested.names)
        found = ordered.shape(self.shape.outputs)
        if not alike(found.inputs, self.shape.inputs) or found != self.shape:
            raise Refused(f"the network takes {self.shape.described}; {source.name} is rows of {found.described}")
        return ordered

    def ordered(self, tested: Samples, count: int, place: Place) -> SampleBatches:
        return self.batches(tested, count, place, drop_last=False)

    def batches(self, samples: Samples, count: int, place: Place, *, drop_last: bool = True) -> SampleBatches:
        """Batches of them, standardised."""
        form: dict[str, Any] = {"device": place.device, "dtype": place.dtype, "processes": place.processes}
        return SampleBatches(samples, count, standard=self.standard, drop_last=drop_last, **form)

    @property
    def intake(self) -> SampleIntake:
        return SampleIntake(self.shape)

    def forward(self, network: nn.Module, place: Place) -> Callable[[Any], Any]:
        return forward_samples(network, self.standard, place)

    def complete(self, network: nn.Module, finish: nn.Module | None) -> nn.Module:
        return Standardised(self.shape, self.standard, network, finish)


@dataclass(frozen=True)
class SampleData:
    """Samples in memory, used as `poise.tasks.images.ImageData` is. Raises `Refused` for a setting that only images
    have."""

    settings: RunSettings
    labels: Labels
    source: SampleSource

    unit: ClassVar[str] = "rows"

    def __post_init__(self) -> None:
        for name in IMAGES_ONLY:
            section, field = name.split(".")
            values: Any = getattr(self.settings, section)
            if getattr(values, field) != type(values).model_fields[field].get_default():
                raise Refused(f"{name} is for images, and {self.source.name} is {self.source.described}")

    def halves(self, training: Tensor, searching: Tensor) -> tuple[Samples, Samples]:
        return self.source.load("train", training), self.source.load("train", searching)

    def training(self) -> Samples:
        return self.source.load("train")

    def final_shape(self, outputs: int) -> SampleShape:
        return self.source.load("train", torch.tensor([0])).shape(outputs)

    def inputs(self, split: Samples, outputs: int) -> SampleInputs:
        standard = Standard.of(split.inputs, asked=self.settings.data.standardise)
        return SampleInputs(split.shape(outputs), standard)

    def batches(self, split: Samples, inputs: SampleInputs, count: int, stage: object, place: Place) -> SampleBatches:
        return inputs.batches(split, count, place)

    def inspect(self, training: Samples, tested: Samples, listen: Listener) -> int:
        return shared_rows(training, tested)

    def fingerprint(self, *splits: Samples) -> str:
        return samples_fingerprint(*splits)
