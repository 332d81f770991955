"""Data with labels, as a space can take it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from poise.config.settings import RunSettings
from poise.data import Source, TextSource, open_data
from poise.data.labels import Labels
from poise.data.sample_source import SampleSource
from poise.errors import Refused
from poise.spaces.custom import ModuleSpace
from poise.tasks.images import ImageData, ImageInputs
from poise.tasks.samples import SampleData, SampleInputs

Data: TypeAlias = ImageData | SampleData
Inputs: TypeAlias = ImageInputs | SampleInputs

INPUTS: dict[str, type[Inputs]] = {ImageInputs.kind: ImageInputs, SampleInputs.kind: SampleInputs}
"""What may go into a network, by the name that files have for it."""


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


def open_for(settings: RunSettings, labels: Labels, spec: Any) -> Data:
    """The data of a run. Raises `Refused` for settings that mean nothing for its kind."""
    source = open_labelled(spec, settings.space.name, labels, settings.data.skip_bad_images)
    if isinstance(source, SampleSource):
        return SampleData(settings, labels, source)
    return ImageData(settings, labels, source)


def notes_on(source: Source | SampleSource, labels: Labels) -> Iterator[str]:
    """Which images were left out, if any, and what there is to say of the labels."""
    yield from notes_on_skipped(source)
    note = labels.note(source.labels("train"), source.names, f"the training split of {source.name}")
    if note is not None:
        yield note


def notes_on_skipped(source: Source | SampleSource) -> Iterator[str]:
    """Which images were left out, if any."""
    skipped = getattr(source, "skipped", ())
    if skipped:
        first = "; ".join(f"{bad.name}: {bad.reason}" for bad in skipped[:5])
        more = f"; and {len(skipped) - 5} more" if len(skipped) > 5 else ""
        yield f"{len(skipped)} images could not be read and were left out ({first}{more})"
