"""What a diagnostic is: a trained or half-trained supernet in, numbers out; nothing of the supernet moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Protocol

from poise import registries
from poise.diagnostics.sharpness import Spectrum, spectrum_of
from poise.diagnostics.vector import SearchLoss
from poise.engine.searcher import Searcher
from poise.errors import Refused
from poise.registry import C, Registry
from poise.supernet.groups import Kept

BATCHES = 2
"""Batches of the search half that everything about the landscape of the alphas is measured on."""


@dataclass(frozen=True)
class Surface:
    """A loss over a plane, ``losses[i][j]`` at ``α + steps[i]·d₁ + steps[j]·d₂``, ``d₁`` and ``d₂`` of length 1.

    Args:
        name: of the plane, such as ``random``.
        title: what it is.
        axes: what ``d₁`` and ``d₂`` are.
        steps: ascending, 0 in the middle.
        losses: one row per step along ``d₁``.
    """

    name: str
    title: str
    axes: tuple[str, str]
    steps: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]

    @property
    def slices(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The losses along ``d₁`` alone and along ``d₂`` alone."""
        middle = len(self.steps) // 2
        return tuple(row[middle] for row in self.losses), self.losses[middle]


@dataclass(frozen=True)
class Finding:
    """What a diagnostic found.

    Args:
        numbers: by name; these go into tables and records.
        series: longer lists of numbers, by name.
        surfaces: losses over a plane, to be drawn.
    """

    numbers: Mapping[str, float]
    series: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    surfaces: tuple[Surface, ...] = ()


@dataclass(frozen=True)
class Subject:
    """What is diagnosed.

    Args:
        searcher: supernet, alphas and both halves of the data; it is left as it was, random streams included.
        kept: the architecture that was chosen; None while the search goes on.
        batches: how many batches of the search half the landscape of the alphas is measured on, see `SearchLoss`.
        tick: is told how much work is done, see `Diagnostic.steps`.
    """

    searcher: Searcher
    kept: Kept | None = None
    batches: int = BATCHES
    tick: Callable[[int], None] = lambda steps: None

    @cached_property
    def loss(self) -> SearchLoss:
        """The search loss as a function of the alphas."""
        return SearchLoss(self.searcher, self.batches, self.tick)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigenvalues and eigenvectors of its Hessian; found once, however many diagnostics ask."""
        return spectrum_of(self.loss, self.searcher.seed)


class Diagnostic(Protocol):
    """A diagnostic: a frozen dataclass whose fields are its settings."""

    kind: ClassVar[str]
    per_epoch: ClassVar[bool]
    """Whether it may be measured after every epoch of a search (``search.diagnostics``)."""

    def steps(self, subject: Subject) -> int:
        """About how much work it is, in evaluations of a loss on one batch; a gradient counts 3."""
        ...

    def __call__(self, subject: Subject) -> Finding: ...


DIAGNOSTICS: Registry[type[Any]] = registries.DIAGNOSTICS


def diagnoses() -> Callable[[C], C]:
    """Register a class as a diagnostic under its ``kind``."""
    return DIAGNOSTICS.by_kind()


def all_of(names: Sequence[str]) -> Callable[[Searcher], Mapping[str, float]]:
    """The numbers of several diagnostics, for the record of an epoch.

    Raises `Refused` for a name that does not exist, or one that is not measured after every epoch.
    """
    chosen: list[Diagnostic] = [DIAGNOSTICS[name]() for name in names]
    for diagnostic in chosen:
        if not diagnostic.per_epoch:
            may = ", ".join(name for name, cls in DIAGNOSTICS.items() if cls.per_epoch)
            raise Refused(
                f"diagnostic {diagnostic.kind!r} is not measured after every epoch (these are: {may}); "
                f"after the search: poise diagnose RUN --only {diagnostic.kind}"
            )

    def measure(searcher: Searcher) -> dict[str, float]:
        subject = Subject(searcher)
        return {name: value for diagnostic in chosen for name, value in diagnostic(subject).numbers.items()}

    return measure
