"""Networks that keep every candidate, by which a space says what its networks are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import nn

from poise.errors import Refused
from poise.spaces.forms import check_form
from poise.spaces.space import Shape, Space, check_dense

Place: TypeAlias = tuple[str, int, int]
"""A candidate: its group by name, its row and itself by index."""


@dataclass(frozen=True)
class Everything:
    """A network that keeps every candidate of every row.

    Args:
        network: its forward takes what the space's shape says. On the meta device, or, where that cannot run it, on
            the CPU.
        places: a module's dotted path -> the candidate that it is. What lies under no such path is in every network.
    """

    network: nn.Module
    places: Mapping[str, Place]

    @property
    def parts(self) -> dict[str, tuple[Place, nn.Module]]:
        """Path -> candidate and module, of those that there are: ``none`` has no module."""
        modules = dict(self.network.named_modules())
        return {path: (place, modules[path]) for path, place in self.places.items() if path in modules}


@runtime_checkable
class Costed(Protocol):
    """A space whose networks' costs are sums over what they keep, so that a search can aim at one."""

    def everything(self, shape: Shape, *, channels: int | None = None, cells: int | None = None) -> Everything:
        """A network of this size that keeps every candidate."""
        ...


def costed(space: Space) -> Costed:
    """The space as one with costs. Raises `Refused` if it has none."""
    if not isinstance(space, Costed):
        raise Refused(
            f"space {space.name!r} cannot say what its networks cost (it has no `everything`), so no target can be set"
        )
    return space


def everything_of(
    space: Space, shape: Shape, *, form: str | None, channels: int | None, cells: int | None
) -> Everything:
    """``space.everything`` in a form, see `poise.spaces.forms`. Raises `Refused` if the space has none of either."""
    check_form(space, form)
    check_dense(space, shape)
    more: dict[str, Any] = {} if form is None else {"form": form}
    return costed(space).everything(shape, channels=channels, cells=cells, **more)
