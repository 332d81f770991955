"""The digits that scikit-learn ships: nothing to download."""

from __future__ import annotations

import torch

from poise.data.labels import ClassIds, Labels
from poise.data.parts import TensorPart
from poise.data.source import SOURCES, Source
from poise.data.split_source import held_out


@SOURCES.add("digits")
class Digits:
    """1,797 handwritten digits, 8x8 grey, from scikit-learn; a fifth is held out as the test split."""

    form = "digits"

    @classmethod
    def matches(cls, spec: object) -> bool:
        return spec == "digits" if isinstance(spec, str) else False

    @classmethod
    def open(cls, spec: object, labels: Labels) -> Source:
        from sklearn.datasets import load_digits

        digits = load_digits()
        inked = torch.from_numpy(digits.images)  # [1797, 8, 8], 0..16
        pixels = (inked * (255 / 16)).round().to(torch.uint8)[:, None]
        named = isinstance(labels, ClassIds)
        names = tuple(str(name) for name in digits.target_names) if named else ("digit",)
        read = labels.read(digits.target, "digits", names)
        return held_out("digits", labels, names, TensorPart("digits", read, pixels.__getitem__))
