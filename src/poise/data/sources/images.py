"""Images that the program has in memory already."""

from __future__ import annotations

from poise.data.images import Images
from poise.data.labels import Labels
from poise.data.parts import TensorPart
from poise.data.source import SOURCES, Source
from poise.data.split_source import SplitSource
from poise.errors import Refused


@SOURCES.add("images")
class InMemory:
    """`Images`, or a pair (train, test) of them, from Python."""

    form = "Images or (Images, Images) from Python"

    @classmethod
    def matches(cls, spec: object) -> bool:
        pair = spec if isinstance(spec, tuple) and len(spec) == 2 else (spec,)
        return all(isinstance(images, Images) for images in pair)

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        train, test = spec if isinstance(spec, tuple) else (spec, None)
        if test is not None and test.names != train.names:
            raise Refused(f"the test images have classes {test.names}, the training images {train.names}")
        part = _part(train, "train", labels)
        return SplitSource(
            "images", labels, train.names, part, None if test is None else lambda: _part(test, "test", labels)
        )


def _part(images: Images, split: str, labels: Labels) -> TensorPart:
    pixels, where = images.pixels.cpu(), f"the {split} images"
    return TensorPart(where, labels.read(images.labels.cpu(), where, images.names), pixels.__getitem__)
