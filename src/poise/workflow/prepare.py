"""From settings to what a run works with: space, method, data, batches. Everything is checked before any data is
read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poise.config.settings import RunSettings
from poise.data import Augmentation, Batches, Images, Source, fingerprint, open_source, search_halves
from poise.diagnostics.diagnostic import all_of
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.run import RunFolder
from poise.engine.search import Searcher
from poise.engine.settings import AugmentSettings
from poise.engine.streams import seed_of, seeded, stream
from poise.errors import Refused
from poise.methods.method import Method
from poise.spaces.space import Space, Task
from poise.supernet.groups import ChoiceGroup


def augmentation_of(settings: AugmentSettings, images: Images) -> Augmentation:
    """Augmentation as set; where nothing is set: random crops with an eighth of the size as padding (32 pixels: 4, as
    published), and horizontal flips of colour images (greyscale ones are often text, which flips would spoil)."""
    padding = settings.crop_padding if settings.crop_padding is not None else min(images.size) // 8
    flip = settings.flip if settings.flip is not None else images.channels == 3
    return Augmentation(crop_padding=padding, flip=flip, cutout=settings.cutout)


def note_data(source: Source, listen: Listener) -> None:
    """Say which images were left out, if any."""
    skipped = getattr(source, "skipped", ())
    if skipped:
        first = "; ".join(f"{bad.name}: {bad.reason}" for bad in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        listen(Noted(f"{len(skipped)} images could not be read and were left out ({first}{more})"))


def check_resuming(resume: bool, out: Path | None, overwrite: bool, auto_batch: bool) -> None:
    """Raise `Refused` for what does not go with resuming a run."""
    if resume and (out is None or overwrite):
        raise Refused("to resume a run takes its folder, and does not go with overwriting it")
    if auto_batch and resume:
        raise Refused("a batch is picked before a run begins; resume it without that")


def check_data(folder: RunFolder, data: str, settings: RunSettings, listen: Listener) -> None:
    """Raise `Refused` if the data of a run, by its fingerprint, is not what it was when the run began. Data from Python
    may be made anew each time it is loaded, so there it is only said."""
    if folder.began_with(data):
        return
    changed = f"the data is not the same as when {folder.path} began"
    if settings.data.source != "python":
        raise Refused(f"{changed}; put it back as it was, or start the run again with --overwrite")
    listen(Noted(f"{changed}, so the result will not be that of a run that was never stopped"))


@dataclass(frozen=True)
class Preparation:
    """What the settings of a search mean: values first, data when it is asked for.

    ``space`` is the space of the settings without the candidates that the method leaves out.
    """

    settings: RunSettings
    method: Method
    space: Space
    groups: tuple[ChoiceGroup, ...]
    place: Place
    spec: Any

    @staticmethod
    def of(settings: RunSettings, data: Any = None, space: Space | None = None) -> Preparation:
        """Raises `Refused` if settings make no sense together. ``data`` and ``space`` stand in for what they name."""
        if settings.data.streaming:
            raise Refused("a search holds its images in memory; data.streaming is for poise train, so set it to false")
        method = settings.build_method()
        space = method.space(space or settings.build_space())
        groups = space.groups
        method.check(groups, settings.search.epochs)
        all_of(settings.search.diagnostics)  # unknown names are refused before anything is read
        missing = [name for name in getattr(method.guard, "diagnostics", ()) if name not in settings.search.diagnostics]
        if missing:
            names = ",".join([*settings.search.diagnostics, *missing])
            raise Refused(f"guard={method.guard.kind} goes by what is not measured; add search.diagnostics=[{names}]")
        place = Place.open(settings.device, settings.precision)
        return Preparation(settings, method, space, groups, place, settings.data.source if data is None else data)

    @cached_property
    def source(self) -> Source:
        """The data, opened but not loaded."""
        return open_source(self.spec, skip_bad_images=self.settings.data.skip_bad_images)

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
            )
            for half in (training, searching)
        ]  # fmt: skip
        return made[0], made[1]

    def searcher(self, alphas: dict[str, Tensor] | None = None, weights: dict[str, Tensor] | None = None) -> Searcher:
        """A searcher at its start, or with given alphas and weights."""
        seed = self.settings.seed
        with seeded(seed_of(seed, "weights"), self.place.device):
            supernet: Any = self.space.supernet(self.task)
        if weights is not None:
            supernet.load_state_dict(weights)
        training, searching = self.batches
        return Searcher(
            supernet, self.groups, self.method, self.settings.search, training, searching, self.place, seed, alphas
        )


def check_names(classes: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Raise `Refused` unless the data's classes are those that a network was trained for."""
    if tuple(classes) != tuple(expected):
        raise Refused(
            f"{what} was trained for {len(expected)} classes ({', '.join(expected)[:60]}); the data has {len(classes)} "
            f"({', '.join(classes)[:60]})"
        )
