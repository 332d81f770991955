"""Images that the program has in memory already."""

from __future__ import annotations

from poise.data.images import Images
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
    def open(cls, spec: object) -> Source:
        train, test = spec if isinstance(spec, tuple) else (spec, None)
        if test is not None and test.classes != train.classes:
            raise Refused(f"the test images have classes {test.classes}, the training images {train.classes}")
        return SplitSource(
            "images", train.classes, _part(train, "train"), None if test is None else lambda: _part(test, "test")
        )


def _part(images: Images, split: str) -> TensorPart:
    pixels = images.pixels.cpu()
    return TensorPart(f"the {split} images", images.labels.cpu(), pixels.__getitem__)
