"""Random outputs and targets for every objective, and an objective measured in parts of unequal size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics.regression import MeanAbsoluteError

from poise.engine.objective import Objective, measured
from poise.tasks.classification import OneClass
from poise.tasks.multilabel import BinaryCrossEntropy
from poise.tasks.own import OwnObjective
from poise.tasks.regression import Standardised
from poise.tasks.segmentation import PixelCrossEntropy

NAMES = ("a", "b", "c", "d", "e", "f", "g")
PARTS = [5, 1, 5]


@dataclass(frozen=True)
class Case:
    """An objective with outputs and targets of 11 samples."""

    objective: Objective
    outputs: Tensor
    targets: Tensor


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(high: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(seed))


def masks(seed: int = 1) -> Tensor:
    """Masks of 11 images; every image but one has other pixels that do not count, and one has none that do."""
    found = whole(3, 11, 4, 5, seed=seed)
    found[draw(11, 4, 5, seed=2) > 0.5] = 255
    found[3] = 255
    return found


CASES = {
    "one class": Case(OneClass(NAMES), draw(11, 7), whole(7, 11)),
    "weighted classes": Case(OneClass(NAMES, 0.1, (1.0, 2.0, 0.5, 3.0, 1.0, 0.1, 0.7)), draw(11, 7), whole(7, 11)),
    "sets": Case(BinaryCrossEntropy(NAMES[:4], 0.1, (1.0, 3.0, 0.5, 2.0)), draw(11, 4), whole(2, 11, 4).float()),
    "number": Case(Standardised(("x",), (3.0,), (2.0,), "mse"), draw(11), 2 * draw(11, 1, seed=1) + 3),
    "numbers": Case(Standardised(("x", "y"), (3.0, -1), (2.0, 9), "huber"), draw(11, 2), 3 * draw(11, 2, seed=1)),
    "masks": Case(PixelCrossEntropy(NAMES[:3]), draw(11, 3, 4, 5), masks()),
    "masks, dice": Case(PixelCrossEntropy(NAMES[:3], 0.1, dice=0.7), draw(11, 3, 4, 5), masks()),
    "own": Case(OwnObjective(torch.nn.MSELoss(), {"mae": MeanAbsoluteError()}), draw(11, 2), draw(11, 2, seed=1)),
}


def in_parts(case: Case, parts: list[int] = PARTS) -> dict[str, float]:
    """All metrics and the loss, measured batch by batch."""
    batches: Any = zip(case.outputs.split(parts), case.targets.split(parts), strict=True)
    return measured(batches, case.objective)
