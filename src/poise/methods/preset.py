"""Named methods: a function that returns the `Method`, with its citation and the settings it was published with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from poise import registries
from poise.methods.method import Method
from poise.registry import Registry

METHODS: Registry[Preset] = registries.METHODS

Settings = Mapping[str, Mapping[str, Any]]
"""Space name, or ``*`` for every space -> dotted setting -> value."""


@dataclass(frozen=True)
class Preset:
    """A named method.

    Args:
        name: its name on the command line.
        build: returns the method.
        citation: the paper.
        settings: slot settings that depend on the space (``{"nasbench201": {"alignment.strength": 0.25}}``).
        published: what ``--preset paper`` sets on top, by the whole names of settings: of the search, the retraining,
            the space and the slots (``{"*": {"search.epochs": 100, "train.drop_path": 0.3}}``).
    """

    name: str
    build: Callable[[], Method]
    citation: str
    settings: Settings
    published: Settings

    @property
    def summary(self) -> str:
        """The first line of the builder's docstring."""
        return (self.build.__doc__ or "").strip().splitlines()[0]


def preset(
    name: str, *, citation: str, settings: Settings | None = None, published: Settings | None = None
) -> Callable[[Callable[[], Method]], Callable[[], Method]]:
    """Register a function without arguments that returns a `Method`; the function itself is returned unchanged."""

    def register(build: Callable[[], Method]) -> Callable[[], Method]:
        METHODS.add(name, build.__doc__)(Preset(name, build, citation, settings or {}, published or {}))
        return build

    return register
