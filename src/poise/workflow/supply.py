"""What a network is trained and tested on: images held in memory, or streamed from where they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from poise.config.settings import RunSettings
from poise.data import Augmentation, Batches, Images, Source, fingerprint, overlap
from poise.data.batched import Batched
from poise.data.crops import LEAST_AREA, RandomPart
from poise.data.pixels import Pixels
from poise.data.split_source import SplitSource
from poise.data.streaming import WORKERS, Streamed, StreamedBatches, streamed_fingerprint
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.errors import Refused
from poise.spaces.space import Task
from poise.workflow.images import augmentation_of, open_images
from poise.workflow.prepare import check_names, note_data

Feeding = Callable[[int], Batched]
"""Batches of so many images."""


@dataclass(frozen=True)
class Supply:
    """The data of a retraining. ``testing`` is None where there is no test split."""

    task: Task
    classes: tuple[str, ...]
    pixels: Pixels
    training: Feeding
    testing: Feeding | None
    fingerprint: Callable[[], str]


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


def supply_of(settings: RunSettings, data: Any, place: Place, listen: Listener) -> Supply:
    """The data that the settings ask for; what is wrong with either split is said now, not after hours."""
    check_streaming(settings)
    source = open_images(data, str(settings.space["name"]), settings.data.skip_bad_images)
    if source.has("test"):
        source.labels("test")
    make = _streamed_supply if settings.data.streaming else _supply_in_memory
    return make(settings, source, place, listen)


def _supply_in_memory(settings: RunSettings, source: Source, place: Place, listen: Listener) -> Supply:
    images = source.load("train", size=settings.data.size)
    task = Task(images.channels, images.size, len(images.classes))
    tested = _test_images(source, task, images.classes) if source.has("test") else None
    note_data(source, listen)
    shared = 0 if tested is None else overlap(images, tested)
    if tested is not None and shared:
        listen(Noted(f"{shared} of {len(tested)} test images are also in the training split: their accuracy flatters"))
    pixels = Pixels.of(images, getattr(source, "files", False))

    def training(count: int) -> Batches:
        return Batches(
            images, count, augmentation=augmentation_of(settings.train, images), mean=pixels.mean, std=pixels.std,
            device=place.device, dtype=place.dtype, channels_last=place.channels_last,
        )  # fmt: skip

    testing = None if tested is None else _whole(tested, pixels, place)
    splits = [images] if tested is None else [images, tested]
    return Supply(task, images.classes, pixels, training, testing, lambda: fingerprint(*splits))


def _streamed_supply(settings: RunSettings, source: Source, place: Place, listen: Listener) -> Supply:
    data, train = settings.data, settings.train
    assert data.size is not None
    images = _streamed(source, "train")
    task = Task(images.channels, (data.size, data.size), len(images.classes))
    tested = _streamed(source, "test") if source.has("test") else None
    note_data(source, listen)
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
    return Supply(task, images.classes, pixels, training, testing, lambda: streamed_fingerprint(*splits))


def _check_readable(tested: Streamed, listen: Listener) -> None:
    """Raise `Refused` for test images that cannot be read: they are needed when the training is done."""
    listen(Noted(f"looking whether all {len(tested):,} test images can be read"))
    _, bad = tested.part.readable()
    if bad:
        more = f"; {len(bad)} test images in all" if len(bad) > 1 else ""
        raise Refused(f"cannot read image {bad[0].name}: {bad[0].reason}{more}")


def testing_of(
    source: Source, task: Task, classes: Sequence[str], pixels: Pixels, place: Place, streamed: bool
) -> Feeding:  # fmt: skip
    """The test split for a network that was trained before."""
    if not streamed:
        tested = _test_images(source, task, classes)
        pixels.check(tested)
        return _whole(tested, pixels, place)
    images = _streamed(source, "test")
    _check_fit(images.classes, classes, images.channels, task)
    return _middles(images, task.size[0], pixels, place, WORKERS)


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


def _test_images(source: Source, task: Task, classes: Sequence[str]) -> Images:
    """The test split, in the size that the network takes. Raises `Refused` if the network is not for such images."""
    fits = source.load("test", torch.tensor([0])).size == task.size
    images = source.load("test", size=None if fits else task.size[0])
    _check_fit(images.classes, classes, images.channels, task)
    return images


def _check_fit(found: Sequence[str], classes: Sequence[str], channels: int, task: Task) -> None:
    check_names(found, classes, "the network")
    if channels != task.channels:
        raise Refused(f"the network takes {task.channels} channels, the test images have {channels}")
