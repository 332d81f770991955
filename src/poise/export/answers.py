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
