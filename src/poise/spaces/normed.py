"""The execution `normed` of mixed cells: what edges share is computed once, what candidates end in is one sum.

A node of a mixed cell is ``Σ_edges Σ_o p[edge, o] · o(x_source)``. Every operation is taken apart into a feature and
what `normed_sum` does to it: a linear map, a batch normalisation, the weight. Then

- ReLU, pooling and factorised reduction of a source are features of the source, shared by all edges that leave it;
- ``none`` is never computed, nor is any candidate of weight 0 where no gradient flows to the weights;
- a depthwise convolution with dilation 2 is the ordinary one on the four interleaved sub-grids of its input
  (`to_grids`), or on one of them where the stride is 2; the source's ReLU is cut once, and results stay cut until the
  node's sum is done.

An operation that this file does not know is computed as it is. It does the least arithmetic and moves the least memory,
in many calls on small matrices; `poise.spaces.stacked` is the other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.operations import Conv, DilConv, FactorizedReduce, Noise, Pool, ReluConvNorm, SepConv, Skip, Zero
from poise.spaces.random_numbers import dropped, noise
from poise.supernet.choice import draws, shaped
from poise.supernet.depthwise import depthwise_conv, from_grids, to_grids
from poise.supernet.draws import Chance, Global
from poise.supernet.normed_sum import Term, moments, normed_sum
from poise.supernet.pooling import average_3x3


class Source:
    """A node's value, and what its outgoing edges of one stride share.

    ``skip_dropout``: the rate of dropout on each skip connection without parameters that starts here, in training mode.
    ``chance``: what dropout and noise are drawn from; None: torch's own generators.
    """

    def __init__(
        self, x: Tensor, stride: int, training: bool, skip_dropout: float = 0.0, chance: Chance | None = None
    ) -> None:
        self.x = x
        self.stride = stride
        self.skip_dropout = skip_dropout if training else 0.0
        self.chance = chance or Global(x.device)
        self._training = training
        self._pools: dict[str, Term] = {}

    @cached_property
    def relu(self) -> Tensor:
        """``max(x, 0)``."""
        return F.relu(self.x)

    @cached_property
    def grids(self) -> Tensor | None:
        """The sub-grids of `relu` that dilation 2 needs; None where sizes are odd and they differ in size."""
        if self.stride == 2:
            return self.relu[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)
        return None if self.x.shape[2] % 2 or self.x.shape[3] % 2 else to_grids(self.relu)

    def pool(self, kind: str, normed: bool) -> Term:
        """3×3 pooling of ``x``, with its moments where a normalisation in training mode follows."""
        if kind not in self._pools:
            if kind == "max":
                value = F.max_pool2d(self.x, 3, self.stride, padding=1)
            else:
                value = average_3x3(self.x, self.stride)
            self._pools[kind] = self._shared(value, mapped=False) if normed else Term(value)
        return self._pools[kind]

    @cached_property
    def halves(self) -> Term:
        """The even pixels beside the odd ones, as `FactorizedReduce` reads them: ``[n, 2c, ceil(h/2), ceil(w/2)]``."""
        x = self.relu
        odd = F.pad(x[:, :, 1:, 1:], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
        even = x[:, :, ::2, ::2]
        both = torch.cat([even, odd[:, :, ::2, ::2]], dim=1)
        return self._shared(both.contiguous(memory_format=torch.channels_last))

    @cached_property
    def rectified(self) -> Term:
        """`relu` as a feature of pointwise convolutions."""
        return self._shared(self.relu)

    def _shared(self, feature: Tensor, mapped: bool = True) -> Term:
        return Term(feature, moments=moments(feature, mapped) if self._training else None)


class Part(NamedTuple):
    """An operation taken apart: its term, and whether its pixels lie in sub-grids."""

    term: Term
    cut: bool = False


@singledispatch
def take_apart(operation: nn.Module, source: Source) -> Part | None:
    """The operation applied to the source, as a term; None if it is zero.

    Raises `Refused` for an operation whose output has not the shape of what its edge ends in.
    """
    return Part(Term(shaped(operation, source.x, source.stride)))


@take_apart.register
def _(operation: Zero, source: Source) -> Part | None:
    return None


@take_apart.register
def _(operation: Noise, source: Source) -> Part | None:
    return Part(Term(noise(source.x, source.stride, source.chance)))


@take_apart.register
def _(operation: Pool, source: Source) -> Part | None:
    norm = operation.norm if isinstance(operation.norm, nn.BatchNorm2d) else None
    return Part(replace(source.pool(operation.kind, normed=norm is not None), norm=norm))


@take_apart.register
def _(operation: nn.AvgPool2d, source: Source) -> Part | None:
    return Part(source.pool("avg", normed=False))


@take_apart.register
def _(operation: Skip, source: Source) -> Part | None:
    if isinstance(operation.reduce, nn.Identity):
        return Part(Term(dropped(source.x, source.skip_dropout, source.chance)))
    reduce = operation.reduce
    weight = halves_weight(reduce.even.weight, reduce.odd.weight)
    return Part(replace(source.halves, weight=weight, norm=reduce.norm))


@take_apart.register
def _(operation: Conv, source: Source) -> Part | None:
    body = operation.body
    if body.conv.kernel_size == (1, 1) and body.conv.stride == (1, 1):
        return Part(replace(source.rectified, weight=body.conv.weight, norm=body.norm))
    return Part(Term(body.conv(source.relu), norm=body.norm))


@take_apart.register
def _(operation: DilConv, source: Source) -> Part | None:
    feature, cut = depthwise(operation.depthwise, source)
    return Part(Term(feature, operation.pointwise.weight, operation.norm), cut)


@take_apart.register
def _(operation: SepConv, source: Source) -> Part | None:
    first, second = operation.first, operation.second
    feature, _ = depthwise(first.depthwise, source)
    inner = normed_sum([Term(feature, first.pointwise.weight, first.norm)], rectify=True)
    return Part(Term(depthwise_conv(inner, second.depthwise.weight), second.pointwise.weight, second.norm))


def depthwise(conv: nn.Conv2d, source: Source) -> tuple[Tensor, bool]:
    """The depthwise convolution of a source's ReLU, and whether the result lies in sub-grids."""
    if conv.dilation == (2, 2) and source.grids is not None:
        return depthwise_conv(source.grids, conv.weight), source.stride == 1
    if conv.dilation == (1, 1):
        return depthwise_conv(source.relu, conv.weight, source.stride), False
    return conv(source.relu), False


def halves_weight(even: Tensor, odd: Tensor) -> Tensor:
    """The two maps of a factorised reduction as one on `Source.halves`: block-diagonal, ``[C, 2K, 1, 1]``."""
    both = even.new_zeros(len(even) + len(odd), 2 * even.shape[1], 1, 1)
    both[: len(even), : even.shape[1]] = even
    both[len(even) :, even.shape[1] :] = odd
    return both


def mixed_node(edges: Sequence[tuple[nn.Module, Source]], mixture: Tensor) -> Tensor:
    """``Σ_edges Σ_o p[edge, o] · o(x_source)``.

    Args:
        edges: for every edge that enters the node, its candidates (children of a module) and its source.
        mixture: ``[edges, candidates]``.
    """
    parts: dict[bool, list[tuple[Term, int]]] = {False: [], True: []}
    for place, operation, source in _used(edges, mixture):
        part = take_apart(operation, source)
        if part is not None:
            parts[part.cut].append((part.term, place))
    flat = mixture.flatten().unbind()  # picked one by one: a list of places would have to be copied to the device
    sums = []
    for cut, found in parts.items():
        if found:
            total = normed_sum([term for term, _ in found], torch.stack([flat[place] for _, place in found]))
            sums.append(from_grids(total) if cut else total)
    if not sums:
        x, stride = edges[0][1].x, edges[0][1].stride
        return torch.zeros_like(x[:, :, ::stride, ::stride]) + 0 * mixture.sum()
    return sums[0] if len(sums) == 1 else sums[0] + sums[1]


class Normed:
    """One pass through a cell whose every node has an edge from each node before it. Satisfies
    `poise.spaces.execution.Pass`.

    Args:
        edges: in the nodes' order, each a module that holds candidates.
        mixture: ``[edges, candidates]``.
        stride: of the edges that leave the cell's inputs.
        skip_dropout, chance: of `Source`.
    """

    def __init__(
        self,
        edges: Sequence[nn.Module],
        mixture: Tensor,
        stride: int,
        training: bool,
        skip_dropout: float,
        chance: Chance | None,
    ) -> None:
        self._edges = edges
        self._mixture = mixture
        self._stride = stride
        self._training = training
        self._skip_dropout = skip_dropout
        self._chance = chance
        self._sources: list[Source] = []
        self._done = 0

    def enter(self, values: Sequence[Tensor]) -> None:
        self._sources += [Source(x, self._stride, self._training, self._skip_dropout, self._chance) for x in values]
        self._stride = 1  # of all edges but those that leave the cell's inputs, which enter first

    def node(self) -> Tensor:
        rows = slice(self._done, self._done + len(self._sources))
        self._done = rows.stop
        return mixed_node(list(zip(self._edges[rows], self._sources, strict=True)), self._mixture[rows])


def _used(edges: Sequence[tuple[nn.Module, Source]], mixture: Tensor) -> Iterator[tuple[int, nn.Module, Source]]:
    """The candidates to compute, each with its place in the flattened mixture.

    Left out are those of weight 0 where no gradient flows to the weights, if reading them does not mean to wait for a
    device; but never one that draws random numbers, so that later draws do not depend on the mixture.
    """
    known = not mixture.requires_grad and mixture.device.type == "cpu"
    values = mixture.tolist() if known else None
    place = 0
    for edge, (candidates, source) in enumerate(edges):
        for index, operation in enumerate(candidates.children()):
            if values is None or values[edge][index] != 0.0 or draws(operation) or _drops(operation, source):
                yield place, operation, source
            place += 1


def _drops(operation: nn.Module, source: Source) -> bool:
    return source.skip_dropout > 0 and isinstance(operation, Skip)


def preprocess(body: ReluConvNorm | FactorizedReduce, x: Tensor) -> Tensor:
    """A cell's input brought to its channels and size, by a 1×1 convolution or a factorised reduction."""
    if isinstance(body, ReluConvNorm):
        return normed_sum([Term(F.relu(x), body.conv.weight, body.norm)])
    halves = Source(x, 2, body.norm.training).halves
    return normed_sum([replace(halves, weight=halves_weight(body.even.weight, body.odd.weight), norm=body.norm)])
