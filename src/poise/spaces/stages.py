"""What the execution `stacked` computes at a time: a stage is all candidates of one kind on the edges that leave the
values which enter together.

A stage says which operations it takes, whose weights it uses as one, which pieces it puts out (a piece is an output
``[batch, C, height, width]`` that one member, or several, share), and computes them. The last one takes what no other
does, and computes it as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.norms import Norms
from poise.spaces.operations import Conv, DilConv, FactorizedReduce, Noise, Pool, SepConv, Skip, Zero
from poise.spaces.random_numbers import dropped, noise
from poise.spaces.wide import in_groups, joined, reduced, spread
from poise.supernet.choice import shaped
from poise.supernet.depthwise import depthwise_conv
from poise.supernet.draws import Chance
from poise.supernet.pooling import average_3x3


class Member(NamedTuple):
    """A candidate of an edge: its module, its edge's source among the values that enter together, its edge's target,
    and its place in the flattened mixture."""

    operation: Any
    source: int
    target: int
    place: int


Pieces = list[list[Member]]
"""The pieces of a stage, each with the members that share it."""


@dataclass
class Entered:
    """The values that enter together, and how their pass computes.

    Args:
        x: the values, ``[batch, sources · C, height, width]``.
        sources: how many.
        stride: of the edges that leave them.
        norms: the pass's.
        skip_dropout: the rate of dropout on each skip connection without parameters.
        chance: what dropout and noise are drawn from.
    """

    x: Tensor
    sources: int
    stride: int
    norms: Norms
    skip_dropout: float
    chance: Chance
    _relu: Tensor | None = field(default=None, init=False)
    _spread: dict[tuple[int, ...], Tensor] = field(default_factory=dict, init=False)

    @property
    def relu(self) -> Tensor:
        """``max(x, 0)``."""
        if self._relu is None:
            self._relu = F.relu(self.x)
        return self._relu

    def source(self, x: Tensor, number: int) -> Tensor:
        """The part of ``x`` that belongs to one source."""
        return x if self.sources == 1 else x.chunk(self.sources, dim=1)[number]

    def rectified(self, members: Sequence[Member]) -> Tensor:
        """`relu` of its source for every member, ``[batch, members · C, height, width]``."""
        wanted = tuple(member.source for member in members)
        if wanted not in self._spread:
            self._spread[wanted] = spread(self.relu, self.sources, wanted)
        return self._spread[wanted]


class Stage:
    """All ``members`` that it takes, on the edges that leave ``sources`` values, by their `kind_of`."""

    def __init__(self, members: Sequence[Member], sources: int) -> None:
        self.kinds = _by(self.kind_of, members)
        self.members = [member for kind in self.kinds.values() for member in kind]
        self.sources = sources

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        """Whether such an operation is computed here."""
        raise NotImplementedError

    @staticmethod
    def kind_of(member: Member) -> Any:
        """What its members differ in; those of a kind lie side by side."""
        return ()

    @property
    def stacks(self) -> list[list[nn.Conv2d]]:
        """Convolutions whose weights are used as one."""
        return []

    def pieces(self, training: bool, dropping: bool) -> Pieces:
        """What `__call__` puts out, in its order: in training mode or not, with dropout on skip connections or not."""
        return [[member] for member in self.members]

    def shared(self) -> Pieces:
        """A piece for every kind and source, whether a member reads it or not."""
        kinds = self.kinds.values()
        return [[m for m in kind if m.source == source] for kind in kinds for source in range(self.sources)]

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        """The pieces, side by side along the channels of one or several tensors; ``weights`` are those of `stacks`."""
        raise NotImplementedError


class Separable(Stage):
    """Separable convolutions, and dilated ones, whose only half is like the first half of the others."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return isinstance(operation, (SepConv, DilConv))  # older torch does not compile a union

    @staticmethod
    def kind_of(member: Member) -> tuple[int, int]:
        unit = _first(member)
        return unit.depthwise.kernel_size[0], unit.depthwise.dilation[0]

    def __init__(self, members: Sequence[Member], sources: int) -> None:
        twice = [m for m in members if isinstance(m.operation, SepConv)]
        super().__init__([*twice, *(m for m in members if m not in twice)], sources)
        self._first = Half([[_first(m) for m in kind] for kind in self.kinds.values()])
        seconds = _by(self.kind_of, twice).values()
        self._second = Half([[m.operation.second for m in kind] for kind in seconds])

    @property
    def stacks(self) -> list[list[nn.Conv2d]]:
        return self._first.stacks + self._second.stacks

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        first = len(self._first.stacks)
        inputs = [entered.rectified(kind) for kind in self.kinds.values()]
        y = self._first(inputs, weights[:first], entered.stride, entered.norms)
        channels = y.shape[1] // len(self.members)
        sizes = [channels * count for count in self._second.counts]
        if not sizes:
            return [y]
        outer = y.shape[1] - sum(sizes)
        inner, *rest = y.split_with_sizes([sum(sizes), outer], dim=1) if outer else [y]
        z = self._second(F.relu(inner).split_with_sizes(sizes, dim=1), weights[first:], 1, entered.norms)
        return [z, *rest]


class Half:
    """One half of separable convolutions: a depthwise one per kind, one product for the pointwise ones, one
    normalisation. ``kinds``: the units of each."""

    def __init__(self, kinds: Sequence[Sequence[DilConv]]) -> None:
        units = [unit for kind in kinds for unit in kind]
        self.counts = [len(kind) for kind in kinds]
        self.stacks = [[unit.depthwise for unit in kind] for kind in kinds]
        self.stacks += [[unit.pointwise for unit in units]] if units else []
        self._dilations = [kind[0].depthwise.dilation[0] for kind in kinds]
        self._norms = [unit.norm for unit in units]

    def __call__(self, inputs: Sequence[Tensor], weights: Sequence[Tensor], stride: int, norms: Norms) -> Tensor:
        *depthwise, pointwise = weights
        kinds = zip(inputs, depthwise, self._dilations, strict=True)
        maps = [depthwise_conv(x, weight, stride, dilation) for x, weight, dilation in kinds]
        return norms(in_groups(joined(maps), pointwise, len(self._norms)), self._norms)


class Convolutions(Stage):
    """Full convolutions: one per source and kernel, one normalisation."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return isinstance(operation, Conv)

    @staticmethod
    def kind_of(member: Member) -> tuple[int, int]:
        return member.operation.body.conv.kernel_size[0], member.source

    @property
    def stacks(self) -> list[list[nn.Conv2d]]:
        return [[m.operation.body.conv for m in kind] for kind in self.kinds.values()]

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        maps = [
            F.conv2d(entered.source(entered.relu, source), weight, None, entered.stride, kernel // 2)
            for (kernel, source), weight in zip(self.kinds, weights, strict=True)
        ]
        return [entered.norms(joined(maps), [m.operation.body.norm for m in self.members])]


class Pools(Stage):
    """Poolings without a normalisation, once per kind."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return isinstance(operation, (nn.AvgPool2d, Pool))

    @staticmethod
    def kind_of(member: Member) -> str:
        return getattr(member.operation, "kind", "avg")

    def pieces(self, training: bool, dropping: bool) -> Pieces:
        return self.shared()

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        x, stride = entered.x, entered.stride
        return [
            F.max_pool2d(x, 3, stride, padding=1) if kind == "max" else average_3x3(x, stride) for kind in self.kinds
        ]


class NormedPools(Pools):
    """Poolings, once per kind, and one normalisation: while the statistics are the batch's, edges share it."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return isinstance(operation, Pool) and isinstance(operation.norm, nn.BatchNorm2d)

    def pieces(self, training: bool, dropping: bool) -> Pieces:
        return self.shared() if training else [[member] for member in self.members]

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        values, training = super().__call__(entered, weights), entered.norms.training
        if not training:
            kinds = zip(values, self.kinds.values(), strict=True)
            values = [spread(value, self.sources, [m.source for m in kind]) for value, kind in kinds]
        owners = [[m.operation.norm for m in piece] for piece in self.pieces(training, dropping=False)]
        return [entered.norms.shared(joined(values), owners)]


class Reductions(Stage):
    """Factorised reductions: the two maps of all edges of a source as two convolutions."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return isinstance(operation, Skip) and isinstance(operation.reduce, FactorizedReduce)

    @staticmethod
    def kind_of(member: Member) -> int:
        return member.source

    @property
    def stacks(self) -> list[list[nn.Conv2d]]:
        kinds = self.kinds.values()
        return [[getattr(m.operation.reduce, half) for m in kind] for kind in kinds for half in ("even", "odd")]

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        maps = [
            reduced(entered.source(entered.relu, source), *weights[2 * number : 2 * number + 2])
            for number, source in enumerate(self.kinds)
        ]
        return [entered.norms(joined(maps), [m.operation.reduce.norm for m in self.members])]


class Skips(Stage):
    """Skip connections without parameters: the values as they are; with dropout, each draws for itself."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return isinstance(operation, Skip)

    def pieces(self, training: bool, dropping: bool) -> Pieces:
        return [[member] for member in self.members] if dropping else self.shared()

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        if not entered.skip_dropout:
            return [entered.x]
        each = spread(entered.x, self.sources, [m.source for m in self.members])
        return [dropped(each, entered.skip_dropout, entered.chance)]


class Others(Stage):
    """Noise, and operations that nothing is known of, one by one."""

    @staticmethod
    def takes(operation: nn.Module) -> bool:
        return not isinstance(operation, Zero)

    def __call__(self, entered: Entered, weights: Sequence[Tensor]) -> list[Tensor]:
        return [
            noise(entered.source(entered.x, source), entered.stride, entered.chance)
            if isinstance(operation, Noise)
            else shaped(operation, entered.source(entered.x, source), entered.stride)
            for operation, source, *_ in self.members
        ]


STAGES: tuple[type[Stage], ...] = (Separable, Convolutions, NormedPools, Pools, Reductions, Skips, Others)
"""An operation belongs to the first that takes it; to none where it is ``none``."""


def stages(members: Sequence[Member], sources: int) -> list[Stage]:
    """All candidates of the edges that leave ``sources`` values, sorted."""
    taken = _by(lambda m: next((kind for kind in STAGES if kind.takes(m.operation)), None), members)
    return [kind(taken[kind], sources) for kind in STAGES if kind in taken]


def _first(member: Member) -> DilConv:
    """The half that reads the source."""
    operation = member.operation
    return operation.first if isinstance(operation, SepConv) else operation


def _by(key: Callable[[Member], Any], members: Sequence[Member]) -> dict[Any, list[Member]]:
    found: dict[Any, list[Member]] = {}
    for member in members:
        found.setdefault(key(member), []).append(member)
    return found
