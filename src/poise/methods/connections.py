"""What a supernet's mixed operations are connected to: all channels, or a part of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from poise.errors import Refused
from poise.methods.slots import fills


@fills("connections")
@dataclass(frozen=True)
class FullConnections:
    """Every operation sees all channels."""

    kind: ClassVar[str] = "full"

    def __call__(self, space: Any) -> Any:
        return space


@fills("connections")
@dataclass(frozen=True)
class PartialConnections:
    """PC-DARTS: operations see one of ``parts`` parts of the channels, and every edge has a weight of its own.

    The rest of the channels goes past the operations; less memory, so larger batches. The weights ``β`` of the edges
    into a node are relaxed from alphas of their own, and scale the edges' strength in selections: ``β_e · p[e, o]``.
    `poise.spaces.partial` has the equations.

    Differs from the paper: with the sigmoid relaxation ``β`` is independent too, as everything is.

    Source: Xu et al., PC-DARTS (arXiv:1907.05737), section 3; K = 4.

    Args:
        parts: K; with 1 this is the full connection, without weights of edges.
    """

    parts: int = 4
    kind: ClassVar[str] = "partial"

    def __post_init__(self) -> None:
        if self.parts < 1:
            raise Refused(f"partial connections need at least 1 part, got {self.parts}")

    def __call__(self, space: Any) -> Any:
        if not hasattr(space, "partial"):
            raise Refused(f"space {space.name!r} has no cells with edges, so connections=partial means nothing there")
        return replace(space, partial=self.parts)
