"""What a network's finished outputs mean, one value for each input. Knows torch only: exports carry this code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor


def class_answers(outputs: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of logits ``[n, classes]``: the ``class`` of the greatest, its ``probability``, and all ``probabilities`` by
    ``softmax``."""
    found = outputs.double().softmax(dim=1).tolist()
    return [
        {
            "class": names[row.index(max(row))],
            "probability": max(row),
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for row in found
    ]


def set_answers(outputs: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of logits ``[n, classes]``: the ``classes`` whose probability is above ½, and all ``probabilities`` by
    ``sigmoid``, each class by itself."""
    found = outputs.double().sigmoid().tolist()
    return [
        {
            "classes": [name for name, share in zip(names, row, strict=True) if share > 0.5],
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for row in found
    ]


def number_answers(outputs: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of numbers ``[n, quantities]``, or ``[n]`` of a single one: each quantity by its name."""
    return [dict(zip(names, row, strict=True)) for row in outputs.reshape(-1, len(names)).tolist()]


def mask_answers(outputs: Tensor, names: Sequence[str]) -> list[dict[str, Any]]:
    """Of logits ``[n, classes, height, width]``: the ``mask`` of the likeliest classes, uint8 ``[height, width]``, and
    which ``shares`` of it the classes have."""
    found = []
    for mask in outputs.argmax(dim=1):
        counts = mask.flatten().bincount(minlength=len(names)).tolist()
        shares = {name: count / mask.numel() for name, count in zip(names, counts, strict=True)}
        found.append({"mask": mask.byte(), "shares": shares})
    return found
