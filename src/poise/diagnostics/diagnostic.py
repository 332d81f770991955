"""What a diagnostic is: a function of a searcher whose numbers go into the record of every epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from poise.engine.search import Searcher
from poise.registry import Registry

Diagnostic = Callable[[Searcher], Mapping[str, float]]
"""Numbers by name; the searcher is left as it was, random streams included."""

DIAGNOSTICS: Registry[Diagnostic] = Registry("diagnostic", "poise.diagnostics")


def all_of(names: Sequence[str]) -> Diagnostic:
    """The numbers of several diagnostics. Raises `Refused` for a name that does not exist."""
    chosen = [DIAGNOSTICS[name] for name in names]

    def measure(searcher: Searcher) -> dict[str, float]:
        return {name: value for diagnostic in chosen for name, value in diagnostic(searcher).items()}

    return measure
