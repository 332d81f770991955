"""How far the mixture is from a discrete choice, and how much of it still moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poise.diagnostics.diagnostic import Finding, Subject, diagnoses

NEAR = 0.01
"""A weight this near to 0 or 1 is settled."""


@diagnoses()
@dataclass(frozen=True)
class Saturation:
    """Per group: entropy, distance from a discrete choice, and the share of weights that are settled.

    For a row ``p`` of ``n`` candidates, and ``q = p/Σp``: ``entropy = −Σ q·ln q / ln n``, in [0, 1] (0 for ``n`` = 1);
    ``distance``, the mean of ``min(p, 1 − p)`` over all weights, in [0, ½]; ``settled``, the share of weights with
    ``min(p, 1 − p) < 0.01``, where softmax and sigmoid pass almost no gradient on. Entropy is the mean over rows.
    Groups that only scale others count too.
    """

    kind: ClassVar[str] = "saturation"
    per_epoch: ClassVar[bool] = True

    def steps(self, subject: Subject) -> int:
        return 0

    @torch.no_grad()
    def __call__(self, subject: Subject) -> Finding:
        numbers: dict[str, float] = {}
        for group, values in subject.searcher.probabilities().items():
            p = values.cpu().double()
            q = p / p.sum(dim=1, keepdim=True).clamp(min=1e-12)
            candidates = torch.tensor(max(p.shape[1], 2), dtype=torch.float64)
            away = torch.minimum(p, 1 - p).clamp(min=0)
            name = f"saturation/{group}"
            numbers[f"{name}/entropy"] = float(torch.special.entr(q).sum(dim=1).mean() / candidates.log())
            numbers[f"{name}/distance"] = float(away.mean())
            numbers[f"{name}/settled"] = float((away < NEAR).double().mean())
        return Finding(numbers)
