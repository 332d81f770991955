"""What a search space is: groups of choices, a supernet, discrete networks, and the rules of a valid genotype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from poise import registries
from poise.errors import Refused, shown, unknown
from poise.genotype import Genotype
from poise.named import LARGEST_SIZE
from poise.registry import Registry
from poise.supernet.groups import ChoiceGroup, Kept, searchable
from poise.supernet.inputs import TextBatch
from poise.supernet.supernet import Supernet

SPACES: Registry[type[Space]] = registries.SPACES


@dataclass(frozen=True)
class ImageShape:
    """What a network takes and gives: images of ``channels × height × width``; for each of them ``outputs`` numbers,
    such as one per class, or where it is ``dense`` as many for every pixel, ``[outputs, height, width]``."""

    channels: int
    size: tuple[int, int]
    outputs: int
    dense: bool = False

    @property
    def answer(self) -> tuple[int, ...]:
        """The shape of what it gives for one image."""
        return (self.outputs, *self.size) if self.dense else (self.outputs,)

    def zeros(self, count: int) -> Tensor:
        """A batch of so many images, all zero, to try a network on."""
        return torch.zeros(count, self.channels, *self.size)

    @property
    def facts(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"channels": self.channels, "size": list(self.size), "outputs": self.outputs, "dense": self.dense}

    @staticmethod
    def of(facts: Any) -> ImageShape:
        """From `facts`. Raises `KeyError`, `TypeError`, `ValueError`, `IndexError` or `OverflowError` for what is
        none."""
        height, width = facts["size"][:2]
        return ImageShape(
            int(facts["channels"]), (int(height), int(width)), int(facts["outputs"]), bool(facts["dense"])
        )


@dataclass(frozen=True)
class TextShape:
    """What a network takes and gives: ``texts`` texts read side by side; the next word of each, out of ``vocabulary``
    words."""

    vocabulary: int
    texts: int

    def zeros(self, count: int) -> TextBatch:
        """A batch of so many words of each text, all of them the first one, to try a network on."""
        return TextBatch(torch.zeros(count, self.texts, dtype=torch.int64))


Shape: TypeAlias = Any
"""An `ImageShape`, a `TextShape` or a `poise.spaces.sample_shape.SampleShape`: of the kind that a space says it is for,
see `shape_kind`. Its ``zeros(count)`` is a batch to try a network on."""


def shape_kind(space: Space | type[Space]) -> type:
    """The kind of shape that a space's networks have: its class attribute ``shape``, or `ImageShape`."""
    kind: type = getattr(space, "shape", ImageShape)
    return kind


def channels_last(space: Space | type[Space]) -> bool:
    """Whether a space's networks are given images and weights that lie channels last: its class attribute
    ``channels_last``, True if it has none."""
    return bool(getattr(space, "channels_last", True))


def check_dense(space: Space | type[Space], shape: Shape) -> None:
    """Raise `Refused` where a shape is dense and a space's networks answer for whole images only: those that answer for
    every pixel have the class attribute ``dense = True``."""
    if getattr(shape, "dense", False) and not getattr(space, "dense", False):
        able = [name for name, known in SPACES.items() if getattr(known, "dense", False)]
        raise Refused(
            f"networks of space {space.name!r} answer for whole images, not for every pixel; spaces that can: "
            f"{', '.join(able)}, and a module of your own"
        )


class Heads(Protocol):
    """A discrete network that has drop-path or an auxiliary head for retraining. One without needs no such method.

    ``paths`` is the number of its paths that drop-path may drop. As of supernets, ``takes_draws`` says that it takes
    the keyword ``draws``, ``draws_nothing`` that it draws no random numbers (those of drop-path are an argument): see
    `poise.supernet.supernet.Supernet`.
    """

    paths: int

    def heads(self, images: Tensor, kept: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits, and an auxiliary head's logits or None. ``kept [paths, batch, 1, 1, 1]`` is what each path of each
        image is multiplied by: 0 where it is dropped, with probability p, else 1/(1 − p). None: nothing is dropped."""
        ...


def has_heads(network: object) -> TypeGuard[Heads]:
    """Whether a network satisfies `Heads`: by a method of its class, as many a module has a layer of that name."""
    return callable(getattr(type(network), "heads", None))


@runtime_checkable
class Space(Protocol):
    """A search space: a frozen value. One file in this folder is one space.

    The class attribute ``presets`` maps the preset names (``demo``, ``small``, ``paper``) to partial configurations,
    ``{"space": {...}, "data": {...}, "search": {...}, "train": {...}}``. A space for text says so by the class
    attribute ``shape = TextShape``; without it a space is for images. Images and weights lie channels last, unless the
    class attribute ``channels_last = False`` says that its networks expect them contiguous. Its networks answer for
    whole images, unless the class attribute ``dense = True`` says that they go by `ImageShape.dense`.
    """

    name: ClassVar[str]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """The choices that a genotype of this space makes."""
        ...

    def supernet(self, shape: Shape, groups: tuple[ChoiceGroup, ...] | None = None) -> Supernet:
        """A freshly initialised supernet (an `nn.Module`) of what is left of the groups (`poise.supernet.narrowing`);
        None: of all of them."""
        ...

    def check(self, genotype: Genotype) -> None:
        """Raise `Refused` unless the genotype is one of this space."""
        ...

    def network(
        self,
        genotype: Genotype,
        shape: Shape,
        *,
        channels: int | None = None,
        cells: int | None = None,
        auxiliary: bool = False,
    ) -> nn.Module:
        """A freshly initialised discrete network of the genotype; None means the published size."""
        ...

    def describe(self, genotype: Genotype) -> str:
        """The genotype in the notation of the space's paper."""
        ...


@runtime_checkable
class Doubting(Protocol):
    """A space with genotypes that are valid and yet nobody wants. One without such needs no such method."""

    def doubt(self, genotype: Genotype) -> str | None:
        """What is wrong with a valid genotype, and what to do; None: nothing."""
        ...


def genotype_of(space: str, kept: Kept, groups: Sequence[ChoiceGroup]) -> Genotype:
    """The genotype that keeps the given candidates; ``none`` is written as keeping nothing."""
    choices = {}
    for group in searchable(groups):
        rows = {}
        for row, indices in zip(group.rows, kept[group.name], strict=True):
            rows[row.name] = tuple(row.candidates[index] for index in indices if row.candidates[index] != "none")
        choices[group.name] = rows
    return Genotype(space, choices)


def kept_of(genotype: Genotype, groups: Sequence[ChoiceGroup]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """The candidates that a genotype keeps, by index; the inverse of `genotype_of`."""
    return {
        group.name: tuple(
            tuple(row.candidates.index(name) for name in genotype.choices[group.name].get(row.name, ()))
            for row in group.rows
        )
        for group in searchable(groups)
    }


def holds(groups: Sequence[ChoiceGroup], genotype: Genotype) -> bool:
    """Whether the groups have every candidate that a genotype of their space keeps: narrowed groups may not."""
    return all(
        name in row.candidates
        for group in searchable(groups)
        for row in group.rows
        for name in genotype.choices[group.name].get(row.name, ())
    )


def check_choices(genotype: Genotype, space: str, groups: Sequence[ChoiceGroup]) -> None:
    """Raise `Refused` unless the genotype's groups, rows and candidates are those of the groups."""
    if genotype.space != space:
        raise Refused(f"the genotype belongs to space {genotype.space!r}, expected {space!r}")
    groups = searchable(groups)
    names = {group.name for group in groups}
    if set(genotype.choices) != names:
        raise Refused(
            f"a genotype of {space!r} has the groups {', '.join(sorted(names))}; got {list(genotype.choices)}"
        )
    for group in groups:
        rows = {row.name: row for row in group.rows}
        chosen = genotype.choices[group.name]
        for name in chosen:
            if name not in rows:
                raise unknown(f"row of group {group.name!r}", name, rows)
        for name, row in rows.items():
            kept = chosen.get(name, ())
            if "none" in kept:
                raise Refused(f"{name} of {group.name!r} keeps 'none'; a genotype leaves an empty row out instead")
            for candidate in kept:
                if candidate not in row.candidates:
                    raise unknown(
                        f"operation on {name} of {group.name!r} in space {space!r}", candidate, row.candidates
                    )
            if len(kept) < group.min_kept or (group.max_kept is not None and len(kept) > group.max_kept):
                most = "any number" if group.max_kept is None else group.max_kept
                raise Refused(
                    f"{name} of {group.name!r} keeps {len(kept)} candidates; {space!r} allows {group.min_kept} to "
                    f"{most}"
                )


def check_positive(**values: int) -> None:
    """Raise `Refused` naming the first value that is not a positive whole number of at most `LARGEST_SIZE`."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise Refused(f"{name} must be a positive whole number, got {shown(value)}")
        if value > LARGEST_SIZE:
            raise Refused(f"{name} must be at most {LARGEST_SIZE:,}, got {shown(value)}")
