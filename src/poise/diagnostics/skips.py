"""How many choices are skip connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from poise.diagnostics.diagnostic import Finding, Subject, diagnoses
from poise.engine.mixture_statistics import skip_share
from poise.supernet.groups import searchable


@diagnoses()
@dataclass(frozen=True)
class Skips:
    """The share of choices that skip connections lead in the mixture, and their share of the chosen operations.

    ``mixture``: of the rows that may be ``skip_connect``, those whose largest weight, ``none`` aside, is its, as in
    every record of a search. ``chosen``: of all operations that the chosen architecture keeps, ``none`` aside. Nothing
    is found where no row has that candidate.

    Source: RobustDARTS (arXiv:1909.09656), section 3; DARTS+ (arXiv:1909.06035).
    """

    kind: ClassVar[str] = "skips"
    per_epoch: ClassVar[bool] = False

    def steps(self, subject: Subject) -> int:
        return 0

    def __call__(self, subject: Subject) -> Finding:
        groups = searchable(subject.searcher.groups)
        share = skip_share(subject.searcher.probabilities(), groups)
        if share is None:
            return Finding({})
        numbers = {"skips/mixture": share}
        if subject.kept is not None:
            names = [
                row.candidates[index]
                for group in groups
                for row, kept in zip(group.rows, subject.kept[group.name], strict=True)
                for index in kept
            ]
            operations = [name for name in names if name != "none"]
            numbers["skips/chosen"] = operations.count("skip_connect") / max(len(operations), 1)
        return Finding(numbers)
