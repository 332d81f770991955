"""The landscape of the search loss around the alphas: two planes through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from poise.diagnostics.diagnostic import Finding, Subject, Surface, diagnoses
from poise.diagnostics.sharpness import work
from poise.diagnostics.vector import SearchLoss
from poise.engine.streams import stream
from poise.errors import Refused


@diagnoses()
@dataclass(frozen=True)
class Landscape:
    """The search loss around the alphas: ``L_val(w, α + a·d₁ + b·d₂)`` on a grid, for two pairs of directions.

    Once ``d₁, d₂`` are random: normal, then made orthonormal; once they are the eigenvectors of the two largest
    eigenvalues of ``∇²_α L_val``. Both have length 1, and ``a`` and ``b`` go from ``−radius·√n`` to ``radius·√n``,
    ``n`` the number of alphas: at the end of an axis the alphas have moved by ``radius`` in the root mean square. All
    values are of the same batches and random numbers. ``rise`` is each plane's highest loss minus the loss at the
    alphas. Nothing is found for a single alpha.

    Args:
        points: along each axis; odd, so that the alphas themselves are one of them.
        radius: how far an axis goes each way.

    Source: Chen and Hsieh, SDARTS (arXiv:2002.05283), figure 1, which shows validation accuracy instead of the loss.
    """

    points: int = 13
    radius: float = 1.0
    kind: ClassVar[str] = "landscape"
    per_epoch: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.points < 3 or self.points % 2 == 0:
            raise Refused(f"a landscape needs an odd number of points, at least 3, got {self.points}")
        if not self.radius > 0:
            raise Refused(f"the radius of a landscape must be above 0, got {self.radius}")

    def steps(self, subject: Subject) -> int:
        return work(subject.loss) + 2 * self.points**2 * len(subject.loss)

    def __call__(self, subject: Subject) -> Finding:
        loss = subject.loss
        count = loss.point.numel()
        if count < 2:
            subject.tick(self.steps(subject))
            return Finding({})
        reach = self.radius * count**0.5
        steps = torch.linspace(-reach, reach, self.points, dtype=torch.float64).tolist()
        drawn = torch.randn(count, 2, generator=stream(subject.searcher.seed, "landscape"), dtype=torch.float64)
        names = ("random direction 1", "random direction 2")
        random = surface(loss, orthonormal(drawn), steps, ("random", "random directions"), names)
        spectrum = subject.spectrum
        # Lanczos' method may end with a single vector: what is missing is drawn.
        leading = orthonormal(torch.cat([spectrum.vectors[:, :2], drawn], dim=1))
        found = [f"eigenvector {i + 1}, λ = {value:.3g}" for i, value in enumerate(spectrum.values[:2].tolist())]
        eigen = surface(loss, leading, steps, ("eigen", "leading eigenvectors"), [*found, *names])
        centre = random.losses[self.points // 2][self.points // 2]
        numbers = {"landscape/loss": centre}
        numbers |= {f"landscape/rise/{plane.name}": max(map(max, plane.losses)) - centre for plane in (random, eigen)}
        return Finding(numbers, surfaces=(random, eigen))


def orthonormal(directions: Tensor) -> Tensor:
    """The first two directions, ``[alphas, 2]``, made orthogonal and of length 1; the first keeps its line. Of each
    the largest entry is positive, so that signs do not hang on the machine."""
    pair = torch.linalg.qr(directions).Q[:, :2]
    largest = pair.gather(0, pair.abs().argmax(dim=0, keepdim=True))
    return pair * largest.sign()


def surface(
    loss: SearchLoss, pair: Tensor, steps: Sequence[float], names: tuple[str, str], axes: Sequence[str]
) -> Surface:
    """The loss at ``α + steps[i]·d₁ + steps[j]·d₂``; ``pair [alphas, 2]`` holds ``d₁`` and ``d₂``."""
    first, second = pair.to(loss.point).unbind(dim=1)
    losses = tuple(tuple(loss.value(loss.point + a * first + b * second) for b in steps) for a in steps)
    return Surface(*names, (axes[0], axes[1]), tuple(steps), losses)
