"""Who can still win a comparison that is not over: candidates are judged on the same images, batch by batch.

After n of N images let ``c_a`` be the number that candidate a got right, ``gap_a = |c_a − c_b| ≥ 0`` its distance to
the current leader b, the one with the lowest (or highest) count.

**Exact.** The other ``N − n`` images change any gap by at most ``N − n``. So a is out if ``gap_a > N − n``: it cannot
even tie. What is left contains every candidate that the full evaluation would rank first, ties included.

**At a confidence.** Let ``x_i ∈ {−1, 0, 1}`` be the difference of a and b on image i and ``D = Σ x_i²`` the number of
images on which they differ. If both ended level, and the images seen were drawn at random without replacement, the gap
would have mean 0 and, with the finite-population correction, variance ``V = D·(1 − n/N)`` (McNemar's test: the square
is taken around 0, not around the mean, so that agreement of few images is no certainty). a is out as well if
``gap_a > max(z·√V, z²)``. Below ``z²`` a count has too heavy tails for a normal law. Nobody goes this way before
`LEAST_LOOKS` looks and `LEAST_IMAGES` images.

``z = Φ⁻¹(1 − (1 − confidence) / (rivals·looks))`` is Bonferroni's, for every rival and every look. One side is enough:
the only mistake is that the candidate which the full evaluation would rank first goes, and it goes only if it lies
*behind* somebody. The probability of that mistake, per decision, is meant to be at most ``1 − confidence``. This is an
approximation: the law is taken as normal; images of a batch as independent, though they share batch statistics and
random numbers; and the images' order as random, which that of the search half is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

Side = Literal["lowest", "highest"]
"""Which accuracy wins."""

LEAST_LOOKS = 2
LEAST_IMAGES = 100


@dataclass(frozen=True)
class Standing:
    """A comparison in between.

    Args:
        hits: ``[racing, images so far]`` bool on the CPU, what each candidate still in the race got right.
        total: images of the full evaluation.
        look, looks: batches so far, and of the full evaluation.
    """

    hits: Tensor
    total: int
    look: int
    looks: int


Survivors = Callable[[Standing], Tensor]
"""Who stays in the race: a standing -> ``[racing]`` bool with at least one true."""


def gaps(hits: Tensor, side: Side) -> Tensor:
    """``[racing, images]`` -> ``[racing]``, the images by which each lies behind the leader, at least 0."""
    counts = hits.sum(dim=1)
    return counts - counts.min() if side == "lowest" else counts.max() - counts


def reachable(hits: Tensor, total: int, side: Side) -> Tensor:
    """``[racing]``, who can still come first or tie, whatever the remaining images bring."""
    return gaps(hits, side) <= total - hits.shape[1]


def plausible(hits: Tensor, total: int, z: float, side: Side) -> Tensor:
    """``[racing]``, whose gap to the leader is not significant: ``gap ≤ max(z·√(D·(1 − n/N)), z²)``."""
    behind = gaps(hits, side)
    differing = (hits ^ hits[behind.argmin()]).sum(dim=1)
    spread = (differing.double() * (1 - hits.shape[1] / total)).sqrt()
    return behind <= (z * spread).clamp(min=z * z)


def quantile(confidence: float, rivals: int, looks: int) -> float:
    """The normal quantile with Bonferroni's correction: ``Φ⁻¹(1 − (1 − confidence) / (rivals·looks))``."""
    return -NormalDist().inv_cdf((1 - confidence) / (rivals * looks))


@dataclass(frozen=True)
class Race:
    """A policy for comparisons of accuracies; see the top of this file. Satisfies `Survivors`.

    Args:
        side: whether the lowest or the highest accuracy wins.
        entrants: candidates at the start, at least 2.
        confidence: None for the exact rule alone.
    """

    side: Side
    entrants: int
    confidence: float | None = None

    def __call__(self, standing: Standing) -> Tensor:
        stays = reachable(standing.hits, standing.total, self.side)
        enough = standing.look >= LEAST_LOOKS and standing.hits.shape[1] >= LEAST_IMAGES
        if self.confidence is not None and enough:
            z = quantile(self.confidence, self.entrants - 1, standing.looks)
            stays = torch.logical_and(stays, plausible(standing.hits, standing.total, z, self.side))
        return stays
