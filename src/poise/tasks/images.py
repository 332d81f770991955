"""Data that is images: the two halves of a search, and what a retraining is trained and tested on, held in memory or
streamed from where it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from poise.config.settings import RunSettings
from poise.data import Augmentation, Batches, Images, Source, TextSource, fingerprint, open_data, overlap
from poise.data.crops import LEAST_AREA, RandomPart
from poise.data.labels import Labels, Seen
from poise.data.pixels import Pixels
from poise.data.sample_source import SampleSource
from poise.data.split_source import SplitSource
from poise.data.streaming import WORKERS, Streamed, StreamedBatches, streamed_fingerprint
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.objective import Objective
from poise.engine.settings import AugmentSettings
from poise.errors import Refused
from poise.spaces.custom import ModuleSpace
from poise.spaces.samples import SampleShape
from poise.spaces.space import ImageShape
from poise.tasks.fed import Fed, Feeding, check_names
from poise.tasks.halves import halves_of

if TYPE_CHECKING:
    from poise.tasks.supervised import Supervised


def augmentation_of(settings: AugmentSettings, images: Images) -> Augmentation:
    """Augmentation as set; where nothing is set: random crops with an eighth of the size as padding (32 pixels: 4, as
    published), and horizontal flips of colour images (greyscale ones are often text, which flips would spoil)."""
    padding = settings.crop_padding if settings.crop_padding is not None else min(images.size) // 8
    flip = settings.flip if settings.flip is not None else images.channels == 3
    return Augmentation(crop_padding=padding, flip=flip, cutout=settings.cutout)


def open_labelled(spec: object, space: str, labels: Labels, skip_bad_images: bool) -> Source | SampleSource:
    """The data that ``spec`` means: images, or for a module of your own samples. Raises `Refused` for anything else."""
    source = open_data(spec, labels, skip_bad_images=skip_bad_images)
    if isinstance(source, TextSource):
        raise Refused(f"space {space!r} is for images, but {source.name} is text; a space for text is 'recurrent'")
    if isinstance(source, SampleSource) and space != ModuleSpace.name:
        raise Refused(
            f"space {space!r} is for images, but {source.name} is {source.described}; a module of your own takes them: "
            "poise.search(module, data)"
        )
    return source


def open_images(spec: object, space: str, labels: Labels, skip_bad_images: bool) -> Source:
    """The images that ``spec`` means, for a network that takes images. Raises `Refused` for anything else."""
    source = open_labelled(spec, space, labels, skip_bad_images)
    if isinstance(source, SampleSource):
        raise Refused(f"the network takes images, but {source.name} is {source.described}")
    return source


def shape_of(source: Source, task: Supervised, size: int | None) -> ImageShape:
    """What a network takes and gives for these images as they are, or resized to ``size``. Reads one of them."""
    images = source.load("train", torch.tensor([0]), size)
    return _shape(images, task, Seen(source.names))


def shape_in(spec: Any, settings: RunSettings) -> ImageShape | SampleShape:
    """What a network of these settings takes and gives for the data that ``spec`` means. Raises `Refused` where they
    are not for it."""
    source = open_labelled(spec, settings.space.name, settings.task.labels, settings.data.skip_bad_images)
    if isinstance(source, SampleSource):
        seen = Seen(source.names)
        return source.load("train", torch.tensor([0])).shape(settings.task.outputs(seen))
    return shape_of(source, settings.task, settings.data.size)


def _shape(images: Images, task: Supervised, seen: Seen) -> ImageShape:
    return ImageShape(images.channels, images.size, task.outputs(seen), task.dense)


@dataclass(frozen=True)
class ImageMaterial:
    """Satisfies `poise.tasks.task.Material`."""

    task: Supervised
    settings: RunSettings
    source: Source
    place: Place

    unit: ClassVar[str] = "images"

    @cached_property
    def halves(self) -> tuple[Images, Images]:
        """The training half and the search half of the training split. The test split is not touched."""
        data, search = self.settings.data, self.settings.search
        strata = self.task.labels.strata(self.source.labels("train"))
        training, searching = halves_of(strata, self.settings, self.unit)
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
    def shape(self) -> ImageShape:
        """What the supernet takes and gives."""
        return _shape(self.halves[0], self.task, self.seen)

    @cached_property
    def seen(self) -> Seen:
        """What is known of the training half's labels."""
        training = self.halves[0]
        return self.task.labels.seen(training.labels, training.names)

    @property
    def objective(self) -> Objective:
        """What the supernet is trained and measured by."""
        return self.task.objective(self.seen, self.settings.search.label_smoothing)

    @cached_property
    def final_shape(self) -> ImageShape:
        """That of the images in their own size. Reads one of them."""
        return shape_of(self.source, self.task, self.settings.data.size)

    def notes(self) -> Iterator[str]:
        """See `notes_on`."""
        return notes_on(self.source, self.task.labels)

    @cached_property
    def batches(self) -> tuple[Batches, Batches]:
        """Batches of the two halves, both normalised by the training half's statistics."""
        training, searching = self.halves
        mean, std = training.statistics()
        made = [
            Batches(
                half, self.settings.search.batch_size, augmentation=augmentation_of(self.settings.search, half),
                mean=mean, std=std, device=self.place.device, dtype=self.place.dtype,
                channels_last=self.place.channels_last, outside=self.task.labels.outside,
            )
            for half in (training, searching)
        ]  # fmt: skip
        return made[0], made[1]


def notes_on(source: Source, labels: Labels) -> Iterator[str]:
    """Which images were left out, if any, and what there is to say of the labels."""
    yield from notes_on_skipped(source)
    note = labels.note(source.labels("train"), source.names, f"the training split of {source.name}")
    if note is not None:
        yield note


def notes_on_skipped(source: Any) -> Iterator[str]:
    """Which images were left out, if any."""
    skipped = getattr(source, "skipped", ())
    if skipped:
        first = "; ".join(f"{bad.name}: {bad.reason}" for bad in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        yield f"{len(skipped)} images could not be read and were left out ({first}{more})"


def _note_data(source: Source, labels: Labels, listen: Listener) -> None:
    for text in notes_on(source, labels):
        listen(Noted(text))


def check_images(settings: RunSettings) -> None:
    """Raise `Refused` for a setting that only samples have."""
    if not settings.data.standardise:
        raise Refused("data.standardise=false is for samples; images are always normalised")


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


def image_data(task: Supervised, settings: RunSettings, source: Source, place: Place, listen: Listener) -> Fed:
    """The images that the settings ask for; what is wrong with either split is said now, not after hours."""
    if source.has("test"):
        source.labels("test")
    make = _streamed_data if settings.data.streaming else _data_in_memory
    return make(task, settings, source, place, listen)


def _data_in_memory(task: Supervised, settings: RunSettings, source: Source, place: Place, listen: Listener) -> Fed:
    images = source.load("train", size=settings.data.size)
    seen = task.labels.seen(images.labels, images.names)
    shape = _shape(images, task, seen)
    tested = _test_images(source, task, shape, seen) if source.has("test") else None
    _note_data(source, task.labels, listen)
    shared = 0 if tested is None else overlap(images, tested)
    if tested is not None and shared:
        what = f"{shared} of {len(tested)} test images are also in the training split"
        listen(Noted(f"{what}: what they measure flatters"))
    pixels = Pixels.of(images, getattr(source, "files", False))

    def training(count: int) -> Batches:
        return Batches(
            images, count, augmentation=augmentation_of(settings.train, images), mean=pixels.mean, std=pixels.std,
            device=place.device, dtype=place.dtype, channels_last=place.channels_last, outside=task.labels.outside,
        )  # fmt: skip

    testing = None if tested is None else _whole(tested, pixels, place)
    splits = [images] if tested is None else [images, tested]
    return Fed(shape, seen, pixels, training, testing, lambda: fingerprint(*splits))


def _streamed_data(task: Supervised, settings: RunSettings, source: Source, place: Place, listen: Listener) -> Fed:
    data, train = settings.data, settings.train
    assert data.size is not None
    images = _streamed(source, "train")
    seen = task.labels.seen(images.part.labels, images.names)
    shape = ImageShape(images.channels, (data.size, data.size), task.outputs(seen), task.dense)
    tested = _streamed(source, "test") if source.has("test") else None
    _note_data(source, task.labels, listen)
    if tested is not None and not data.skip_bad_images:  # else those that cannot be read are left out already
        _check_readable(tested, listen)
    pixels = Pixels.of(images.sample(data.size), files=True)
    workers = WORKERS if data.workers is None else data.workers
    part = RandomPart(
        data.size,
        LEAST_AREA if train.crop_area is None else train.crop_area,
        images.channels == 3 if train.flip is None else train.flip,
        train.colour_jitter,
    )

    def training(count: int) -> StreamedBatches:
        return StreamedBatches(
            images, count, part=part, mean=pixels.mean, std=pixels.std, device=place.device, dtype=place.dtype,
            channels_last=place.channels_last, cutout=train.cutout, workers=workers,
        )  # fmt: skip

    testing = None if tested is None else _middles(tested, data.size, pixels, place, workers)
    splits = [images] if tested is None else [images, tested]
    return Fed(shape, seen, pixels, training, testing, lambda: streamed_fingerprint(*splits))


def _check_readable(tested: Streamed, listen: Listener) -> None:
    """Raise `Refused` for test images that cannot be read: they are needed when the training is done."""
    listen(Noted(f"looking whether all {len(tested):,} test images can be read"))
    _, bad = tested.part.readable()
    if bad:
        more = f"; {len(bad)} test images in all" if len(bad) > 1 else ""
        raise Refused(f"cannot read image {bad[0].name}: {bad[0].reason}{more}")


def testing_of(
    source: Source, task: Supervised, shape: ImageShape, seen: Seen, pixels: Pixels, place: Place, streamed: bool
) -> Feeding:
    """The test split for a network that was trained before."""
    if not streamed:
        tested = _test_images(source, task, shape, seen)
        pixels.check(tested.pixels)
        return _whole(tested, pixels, place)
    images = _streamed(source, "test")
    _check_fit(images.names, images.channels, task, shape, seen)
    return _middles(images, shape.size[0], pixels, place, WORKERS)


def _whole(images: Images, pixels: Pixels, place: Place) -> Feeding:
    return lambda count: Batches(
        images, count, augmentation=Augmentation(), mean=pixels.mean, std=pixels.std, device=place.device,
        dtype=place.dtype, channels_last=place.channels_last, drop_last=False,
    )  # fmt: skip


def _middles(images: Streamed, size: int, pixels: Pixels, place: Place, workers: int) -> Feeding:
    return lambda count: StreamedBatches(
        images, count, part=RandomPart(size), mean=pixels.mean, std=pixels.std, device=place.device, dtype=place.dtype,
        channels_last=place.channels_last, workers=workers, drop_last=False,
    )  # fmt: skip


def _streamed(source: Source, split: str) -> Streamed:
    if not isinstance(source, SplitSource):
        raise Refused(f"a source of your own ({type(source).__name__}) cannot be streamed; set data.streaming=false")
    return source.streamed(split)


def _test_images(source: Source, task: Supervised, shape: ImageShape, seen: Seen) -> Images:
    """The test split, in the size that the network takes. Raises `Refused` if the network is not for such images."""
    fits = source.load("test", torch.tensor([0])).size == shape.size
    images = source.load("test", size=None if fits else shape.size[0])
    _check_fit(images.names, images.channels, task, shape, seen)
    return images


def _check_fit(names: Sequence[str], channels: int, task: Supervised, shape: ImageShape, seen: Seen) -> None:
    check_names(names, seen.names, task.named, "the network")
    if channels != shape.channels:
        raise Refused(f"the network takes {shape.channels} channels, the test images have {channels}")
