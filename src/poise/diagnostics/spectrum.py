"""The spectrum of ``∇²_α L_val``: its largest and smallest eigenvalues, group by group as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from poise.diagnostics.diagnostic import Finding, Subject, diagnoses
from poise.diagnostics.sharpness import work


@diagnoses()
@dataclass(frozen=True)
class SpectrumOf:
    """The eigenvalues of the Hessian of the search loss over the alphas, of all groups together and of each.

    By exact second derivatives: the whole matrix up to 64 alphas, else Lanczos' method, 32 steps (16 for a group), see
    `Spectrum`. ``largest`` is RobustDARTS's dominant eigenvalue; ``smallest`` is below 0 where the loss is not convex
    in the alphas.

    Source: RobustDARTS (arXiv:1909.09656), section 4.
    """

    kind: ClassVar[str] = "spectrum"
    per_epoch: ClassVar[bool] = True

    def steps(self, subject: Subject) -> int:
        return work(subject.loss)

    def __call__(self, subject: Subject) -> Finding:
        found = subject.spectrum
        values = found.values.tolist()
        numbers = {"spectrum/largest": values[0], "spectrum/smallest": values[-1]}
        if len(found.groups) > 1:
            numbers |= {f"spectrum/largest/{name}": value for name, value in found.groups.items()}
        return Finding(numbers, {"eigenvalues" if found.whole else "lanczos": tuple(values)})
