"""The material of searches on images: two halves of the training split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch

from poise.config.settings import RunSettings
from poise.data import Augmentation, Batches, Images, Source, TextSource, fingerprint, open_data, search_halves
from poise.engine.device import Place
from poise.engine.settings import AugmentSettings
from poise.engine.streams import seed_of, stream
from poise.errors import Refused
from poise.spaces.space import Task


def augmentation_of(settings: AugmentSettings, images: Images) -> Augmentation:
    """Augmentation as set; where nothing is set: random crops with an eighth of the size as padding (32 pixels: 4, as
    published), and horizontal flips of colour images (greyscale ones are often text, which flips would spoil)."""
    padding = settings.crop_padding if settings.crop_padding is not None else min(images.size) // 8
    flip = settings.flip if settings.flip is not None else images.channels == 3
    return Augmentation(crop_padding=padding, flip=flip, cutout=settings.cutout)


def open_images(spec: object, space: str, skip_bad_images: bool) -> Source:
    """The images that ``spec`` means. Raises `Refused` if it is text."""
    source = open_data(spec, skip_bad_images=skip_bad_images)
    if isinstance(source, TextSource):
        raise Refused(f"space {space!r} is for images, but {source.name} is text; a space for text is 'recurrent'")
    return source


def task_of(source: Source, size: int | None) -> Task:
    """What a network is for that takes these images as they are, or resized to ``size``. Reads one of them."""
    images = source.load("train", torch.tensor([0]), size)
    return Task(images.channels, images.size, len(images.classes))


@dataclass(frozen=True)
class ImageMaterial:
    """Satisfies `poise.workflow.material.Material`."""

    settings: RunSettings
    space: str
    spec: Any
    place: Place

    unit: ClassVar[str] = "images"
    about: ClassVar[str] = "images"
    unused: ClassVar[tuple[str, ...]] = ("search.text", "train.text")

    @cached_property
    def source(self) -> Source:
        """The data, opened but not loaded."""
        return open_images(self.spec, self.space, self.settings.data.skip_bad_images)

    @cached_property
    def halves(self) -> tuple[Images, Images]:
        """The training half and the search half of the training split. The test split is not touched."""
        data, search = self.settings.data, self.settings.search
        training, searching = search_halves(
            self.source.labels("train"),
            seed=seed_of(self.settings.seed, "split") % 2**62,
            fraction=data.search_fraction,
            split_file=data.split_file,
            limit=search.images_per_half,
        )
        for half, name in ((training, "training"), (searching, "search")):
            if len(half) < search.batch_size:
                raise Refused(
                    f"the {name} half has {len(half)} images, fewer than search.batch_size {search.batch_size}; "
                    "use a smaller batch"
                )
        # What is measured on the search half, in its order, must not meet one class after the other.
        searching = searching[torch.randperm(len(searching), generator=stream(self.settings.seed, "search half"))]
        native = self.source.load("train", training[:1], data.size)
        augmentation_of(self.settings.train, native).check(native.size)  # retraining must not fail after the search
        size = data.size
        if search.max_size is not None and max(native.size) > search.max_size:
            size = search.max_size
        return self.source.load("train", training, size), self.source.load("train", searching, size)

    @property
    def fingerprint(self) -> str:
        """Of the images that the search sees."""
        return fingerprint(*self.halves)

    @cached_property
    def task(self) -> Task:
        """What the supernet is for."""
        images = self.halves[0]
        return Task(images.channels, images.size, len(images.classes))

    @cached_property
    def batches(self) -> tuple[Batches, Batches]:
        """Batches of the two halves, both normalised by the training half's statistics."""
        training, searching = self.halves
        mean, std = training.statistics()
        made = [
            Batches(
                half, self.settings.search.batch_size, augmentation=augmentation_of(self.settings.search, half),
                mean=mean, std=std, device=self.place.device, dtype=self.place.dtype,
                channels_last=self.place.channels_last,
            )
            for half in (training, searching)
        ]  # fmt: skip
        return made[0], made[1]
