"""The material of searches on text: the training text for the weights, the validation text for the alphas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from poise.config.settings import RunSettings
from poise.data import Text, TextBatches, TextSource, open_data
from poise.data.text import text_fingerprint
from poise.engine.device import Place
from poise.errors import Refused
from poise.spaces.space import TextTask
from poise.supernet.inputs import SEARCH, TRAINING

UNUSED = (
    "data.size", "data.search_fraction", "data.split_file", "data.skip_bad_images",
    *(f"{stage}.{name}" for stage in ("search", "train") for name in ("crop_padding", "flip", "cutout")),
    "search.max_size", "search.images_per_half", "train.label_smoothing", "train.form", "train.crop_area",
    "train.colour_jitter", "train.cells", "data.streaming", "data.workers",
)  # fmt: skip
"""Settings that mean nothing for text."""


def check_network(settings: RunSettings) -> None:
    """Raise `Refused` for what no recurrent network has: a search says so as well, whose network will be trained."""
    for name in ("drop_path", "auxiliary"):
        if getattr(settings.train, name):
            raise Refused(f"a recurrent network has no {name.replace('_', '-')}; set train.{name} to 0")


def open_text(spec: object, space: str) -> TextSource:
    """The text that ``spec`` means. Raises `Refused` if it is images."""
    source = open_data(spec)
    if not isinstance(source, TextSource):
        raise Refused(
            f"space {space!r} is for text, but {source.name} holds images; pass a folder with train.txt, valid.txt and "
            "test.txt as --data"
        )
    return source


def beginning(text: Text, words: int | None) -> Text:
    """The first ``words`` words of a text; None: all."""
    return text if words is None else Text(text.tokens[:words], text.words)


@dataclass(frozen=True)
class TextMaterial:
    """Satisfies `poise.workflow.material.Material`."""

    settings: RunSettings
    space: str
    spec: Any
    place: Place

    unit: ClassVar[str] = "words"
    about: ClassVar[str] = "text"
    unused: ClassVar[tuple[str, ...]] = UNUSED

    def __post_init__(self) -> None:
        check_network(self.settings)

    @cached_property
    def source(self) -> TextSource:
        """The text, opened but not read."""
        return open_text(self.spec, self.space)

    @cached_property
    def halves(self) -> tuple[Text, Text]:
        """The training text and the validation text. The test text is not touched."""
        words = self.settings.search.text.words
        return beginning(self.source.load("train"), words), beginning(self.source.load("valid"), words)

    @property
    def fingerprint(self) -> str:
        """Of the texts that the search sees."""
        return text_fingerprint(*self.halves)

    @cached_property
    def task(self) -> TextTask:
        """What the supernet is for."""
        return TextTask(len(self.halves[0].words), self.settings.search.batch_size)

    @cached_property
    def batches(self) -> tuple[TextBatches, TextBatches]:
        """Batches of the two texts."""
        form = self.settings.search
        made = [
            TextBatches(
                text, form.batch_size, sequence=form.text.sequence, vary=form.text.vary, stream=stream,
                device=self.place.device,
            )
            for text, stream in zip(self.halves, (TRAINING, SEARCH), strict=True)
        ]  # fmt: skip
        return made[0], made[1]
