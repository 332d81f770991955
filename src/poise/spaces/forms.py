"""Spaces whose networks come in several forms: one for small images and one for those of ImageNet, for example."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import nn

from poise.errors import Refused, unknown
from poise.genotype import Genotype
from poise.spaces.space import ImageShape, Space, check_dense


@runtime_checkable
class Formed(Protocol):
    """A `Space` whose ``network`` also takes ``form=``, one of ``forms``; the first is the one that it has if unasked.
    A space with one form only needs nothing of this."""

    forms: ClassVar[tuple[str, ...]]

    def network(
        self,
        genotype: Genotype,
        shape: ImageShape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
        form: str = ...,
    ) -> nn.Module:
        """A freshly initialised discrete network of the genotype in this form."""
        ...


def network_of(
    space: Space, genotype: Genotype, shape: ImageShape, *, form: str | None, channels: int | None, cells: int | None,
    auxiliary: bool,
) -> nn.Module:  # fmt: skip
    """``space.network`` in a form; None: the one that the space has if unasked. Raises `Refused` if it has no such
    form, or answers for whole images where the shape is dense."""
    check_form(space, form)
    check_dense(space, shape)
    more: dict[str, Any] = {} if form is None else {"form": form}
    return space.network(genotype, shape, channels=channels, cells=cells, auxiliary=auxiliary, **more)


def check_form(space: Space, form: str | None) -> None:
    """Raise `Refused` if the networks of a space do not come in this form."""
    if form is None:
        return
    if not isinstance(space, Formed):
        raise Refused(f"the networks of space {space.name!r} have one form only; leave train.form unset")
    if form not in space.forms:
        raise unknown(f"form of the networks of space {space.name!r}", form, space.forms)
