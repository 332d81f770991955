"""Data that is images, held in memory or streamed from where it is, and what goes into a network that is trained on
it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from poise.config.settings import RunSettings
from poise.data import Augmentation, Batches, Images, Source, fingerprint, overlap
from poise.data.batched import Batched
from poise.data.crops import LEAST_AREA, RandomPart
from poise.data.intake import Intake
from poise.data.labels import Labels
from poise.data.pixels import Pixels
from poise.data.sample_source import SampleSource
from poise.data.split_source import SplitSource
from poise.data.streaming import WORKERS, Streamed, StreamedBatches, streamed_fingerprint
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.predict import forward_images
from poise.engine.settings import AugmentSettings
from poise.errors import Refused
from poise.export.normalise import Normalise
from poise.spaces.space import ImageShape


@dataclass(frozen=True)
class ImageInputs:
    """Images that go into a network, and how: saved with it. Satisfies `poise.export.card.Taken`.

    Args:
        shape: what the network takes and gives.
        pixels: what the numbers in an image mean.
        streamed: whether it saw streamed images, so that tests show it their middles.
        workers: processes that decode streamed images to measure on.
    """

    shape: ImageShape
    pixels: Pixels
    streamed: bool = False
    workers: int = WORKERS

    kind: ClassVar[str] = "images"

    @property
    def described(self) -> str:
        """One of them in a few words."""
        return f"{self.shape.channels} × {self.shape.size[0]} × {self.shape.size[1]}"

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"kind": self.kind, "shape": self.shape.facts, **self.pixels.facts, "streamed": self.streamed}

    @staticmethod
    def of(facts: Mapping[str, Any]) -> ImageInputs:
        """From `facts`. Raises as `ImageShape.of` and `Pixels.read` for what is none."""
        return ImageInputs(ImageShape.of(facts["shape"]), Pixels.read(facts), bool(facts["streamed"]))

    @property
    def told(self) -> dict[str, Any]:
        return {
            "layout": "NCHW", "dtype": "float32", "channels": self.shape.channels, "size": list(self.shape.size),
            **self.pixels.facts, "streamed": self.streamed,
        }  # fmt: skip

    @property
    def text(self) -> str:
        height, width = self.shape.size
        return (
            f"[batch, {self.shape.channels}, {height}, {width}], channels first, float32: {self.pixels}; the network "
            "itself subtracts the mean and divides by the standard deviation"
        )

    def check_kind(self, source: Source | SampleSource) -> None:
        """Raise `Refused` for data that is of another kind."""
        if isinstance(source, SampleSource):
            raise Refused(f"the network takes images, but {source.name} is {source.described}")

    def tested(self, source: Source) -> Images | Streamed:
        """The test split, as the network takes it. Raises `Refused` if it is not for such images."""
        images = _streamed(source, "test") if self.streamed else self._in_memory(source)
        if images.channels != self.shape.channels:
            raise Refused(f"the network takes {self.shape.channels} channels, the test images have {images.channels}")
        if isinstance(images, Images):
            self.pixels.check(images.pixels)
        return images

    def _in_memory(self, source: Source) -> Images:
        """The test split in the size that the network takes."""
        fits = source.load("test", torch.tensor([0])).size == self.shape.size
        return source.load("test", size=None if fits else self.shape.size[0])

    def ordered(self, tested: Images | Streamed, count: int, place: Place) -> Batched:
        """Batches of all of it, in order, to measure on."""
        form = self.form(place)
        if isinstance(tested, Images):
            return Batches(tested, count, augmentation=Augmentation(), drop_last=False, **form)
        part = RandomPart(self.shape.size[0])
        return StreamedBatches(tested, count, part=part, workers=self.workers, drop_last=False, **form)

    def form(self, place: Place) -> dict[str, Any]:
        """Of batches: how they are normalised, and where and how they lie."""
        return {
            "mean": self.pixels.mean, "std": self.pixels.std, "device": place.device, "dtype": place.dtype,
            "channels_last": place.channels_last, "processes": place.processes,
        }  # fmt: skip

    @property
    def intake(self) -> Intake:
        """How new images come to the form that the network takes."""
        return Intake(self.shape.channels, self.shape.size, self.pixels, self.streamed)

    def forward(self, network: nn.Module, place: Place) -> Callable[[Any], Any]:
        """The forward pass for what the intake gives."""
        return forward_images(network, self.pixels, place)

    def complete(self, network: nn.Module, finish: nn.Module | None) -> nn.Module:
        """The network for images as they come, and with ``finish`` after it."""
        parts = [Normalise(self.pixels.mean, self.pixels.std), network, *([] if finish is None else [finish])]
        return nn.Sequential(*parts)


@dataclass(frozen=True)
class ImageData:
    """Images, opened as a run's settings say. A split of them is in memory or, for a retraining that asks for it,
    streamed. Raises `Refused` for a setting that only samples have."""

    settings: RunSettings
    labels: Labels
    source: Source

    unit: ClassVar[str] = "images"
    """What it is made of."""

    def __post_init__(self) -> None:
        if not self.settings.data.standardise:
            raise Refused("data.standardise=false is for samples; images are always normalised")

    def halves(self, training: Tensor, searching: Tensor) -> tuple[Images, Images]:
        """Those rows of the training split, as a search takes them."""
        size, most = self.settings.data.size, self.settings.search.max_size
        native = self.source.load("train", training[:1], size)
        augmentation_of(self.settings.train, native).check(native.size)  # retraining must not fail after the search
        if most is not None and max(native.size) > most:
            size = most
        return self.source.load("train", training, size), self.source.load("train", searching, size)

    def training(self) -> Images | Streamed:
        """The training split, as a retraining takes it."""
        if self.settings.data.streaming:
            return _streamed(self.source, "train")
        return self.source.load("train", size=self.settings.data.size)

    def final_shape(self, outputs: int) -> ImageShape:
        """What a retrained network takes, and gives in so many numbers. Reads one image."""
        return self._shape(self.source.load("train", torch.tensor([0]), self.settings.data.size), outputs)

    def _shape(self, images: Images, outputs: int) -> ImageShape:
        return ImageShape(images.channels, images.size, outputs, self.labels.dense)

    def inputs(self, split: Images | Streamed, outputs: int) -> ImageInputs:
        """Of a network that is trained on this split, and gives so many numbers."""
        if isinstance(split, Images):
            files = getattr(self.source, "files", False)
            return ImageInputs(self._shape(split, outputs), Pixels.of(split, files))
        data = self.settings.data
        assert data.size is not None
        workers = WORKERS if data.workers is None else data.workers
        sample = split.sample(data.size)
        return ImageInputs(self._shape(sample, outputs), Pixels.of(sample, files=True), streamed=True, workers=workers)

    def batches(
        self, split: Images | Streamed, inputs: ImageInputs, count: int, stage: AugmentSettings, place: Place
    ) -> Batched:
        """Batches to train on, augmented as ``stage`` says."""
        form = inputs.form(place)
        if isinstance(split, Images):
            augmentation = augmentation_of(stage, split)
            return Batches(split, count, augmentation=augmentation, outside=self.labels.outside, **form)
        train = self.settings.train
        part = RandomPart(
            inputs.shape.size[0],
            LEAST_AREA if train.crop_area is None else train.crop_area,
            split.channels == 3 if train.flip is None else train.flip,
            train.colour_jitter,
        )
        return StreamedBatches(split, count, part=part, cutout=train.cutout, workers=inputs.workers, **form)

    def inspect(self, training: Images | Streamed, tested: Images | Streamed, listen: Listener) -> int:
        """How many test images are in both splits, where that can be known. Raises `Refused` for those that cannot be
        read: they are needed when the training is done."""
        if isinstance(training, Images) and isinstance(tested, Images):
            return overlap(training, tested)
        if isinstance(tested, Streamed) and not self.settings.data.skip_bad_images:  # else they are left out already
            listen(Noted(f"looking whether all {len(tested):,} test images can be read"))
            _, bad = tested.part.readable()
            if bad:
                more = f"; {len(bad)} test images in all" if len(bad) > 1 else ""
                raise Refused(f"cannot read image {bad[0].name}: {bad[0].reason}{more}")
        return 0

    def fingerprint(self, *splits: Any) -> str:
        """Of all that is in these."""
        return (streamed_fingerprint if isinstance(splits[0], Streamed) else fingerprint)(*splits)


def augmentation_of(settings: AugmentSettings, images: Images) -> Augmentation:
    """Augmentation as set; where nothing is set: random crops with an eighth of the size as padding (32 pixels: 4, as
    published), and horizontal flips of colour images (greyscale ones are often text, which flips would spoil)."""
    padding = settings.crop_padding if settings.crop_padding is not None else min(images.size) // 8
    flip = settings.flip if settings.flip is not None else images.channels == 3
    return Augmentation(crop_padding=padding, flip=flip, cutout=settings.cutout)


def check_streaming(settings: RunSettings) -> None:
    """Raise `Refused` for settings that mean nothing, with images streamed or with images in memory."""
    data, train = settings.data, settings.train
    if data.streaming:
        if data.size is None:
            raise Refused("data.streaming cuts images to a square; say which with data.size, such as 224")
        if train.crop_padding is not None:
            raise Refused(
                "train.crop_padding means nothing with data.streaming, whose crops are of random size; set it to null, "
                "and train.crop_area if need be"
            )
        return
    given = {
        "data.workers": data.workers is not None,
        "train.crop_area": train.crop_area is not None,
        "train.colour_jitter": train.colour_jitter > 0,
    }
    name = next((name for name, set_ in given.items() if set_), None)
    if name is not None:
        raise Refused(f"{name} is for streamed images only; set data.streaming=true with it, or leave it out")


def _streamed(source: Source, split: str) -> Streamed:
    if not isinstance(source, SplitSource):
        raise Refused(f"a source of your own ({type(source).__name__}) cannot be streamed; set data.streaming=false")
    return source.streamed(split)
