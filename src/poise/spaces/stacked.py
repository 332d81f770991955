"""The execution `stacked` of mixed cells: everything that leaves a node goes through few, wide kernels.

Edges that leave one node read the same values, and candidates of one kind differ in their weights alone. So for all
edges that leave the values that enter together (the inputs of a cell, or one node) there is

- one ReLU, and one copy of it per edge;
- one depthwise convolution per kernel, over the channels of all edges; one product for all pointwise maps, in groups;
  one batch normalisation over all of them; likewise for the second halves of separable convolutions;
- one pooling of each kind, normalised once while the statistics are the batch's;
- one product ``A · pieces`` that weighs the candidates' outputs and adds up those of a node: ``A [targets, pieces]``
  holds the mixture, and zeros where a piece does not lead.

The weights of a cell are strung together once per pass. Every operation is one of torch's own, and so are derivatives
of any order. What is computed is the textbook's, channel by channel: only calls are saved, which are nearly all the
time of a small problem, and of a GPU. `poise.spaces.normed` takes less arithmetic and memory, and ten times the calls.
An operation that this file does not know is computed as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.operations import Conv, DilConv, FactorizedReduce, Noise, Pool, SepConv, Skip, Zero
from poise.spaces.random_numbers import dropped, noise
from poise.supernet.choice import shaped
from poise.supernet.depthwise import depthwise_conv
from poise.supernet.draws import Chance, Global
from poise.supernet.pooling import average_3x3


class Member(NamedTuple):
    """A candidate of an edge: its module, its edge's source among the values that enter together, its edge's target,
    and its place in the flattened mixture."""

    operation: Any
    source: int
    target: int
    place: int


class Leaving:
    """The edges that leave ``sources`` values which enter together, their candidates sorted by kind.

    A piece is an output ``[batch, C, height, width]``; several members share it where it is the same for all of them.
    """

    def __init__(self, sources: int, stride: int, members: Iterable[Member]) -> None:
        self.sources = sources
        self.stride = stride
        self.separable: dict[tuple[int, int], list[Member]] = {}
        self.dilated: dict[tuple[int, int], list[Member]] = {}
        self.convolutions: dict[tuple[int, int], list[Member]] = {}
        self.pools: dict[tuple[str, bool], list[Member]] = {}
        self.skips: list[Member] = []
        self.reductions: dict[int, list[Member]] = {}
        self.others: list[Member] = []
        for member in members:
            self._sort(member)
        self.targets = sorted({member.target for member in self._all()})

    def _sort(self, member: Member) -> None:
        operation = member.operation
        if isinstance(operation, SepConv):
            self.separable.setdefault(_kernel(operation.first.depthwise), []).append(member)
        elif isinstance(operation, DilConv):
            self.dilated.setdefault(_kernel(operation.depthwise), []).append(member)
        elif isinstance(operation, Conv):
            self.convolutions.setdefault((operation.body.conv.kernel_size[0], member.source), []).append(member)
        elif isinstance(operation, Pool | nn.AvgPool2d):
            normed = isinstance(operation, Pool) and isinstance(operation.norm, nn.BatchNorm2d)
            kind = operation.kind if isinstance(operation, Pool) else "avg"
            self.pools.setdefault((kind, normed), []).append(member)
        elif isinstance(operation, Skip) and isinstance(operation.reduce, FactorizedReduce):
            self.reductions.setdefault(member.source, []).append(member)
        elif isinstance(operation, Skip):
            self.skips.append(member)
        elif not isinstance(operation, Zero):
            self.others.append(member)

    def _all(self) -> Iterator[Member]:
        kinds = (self.separable, self.dilated, self.convolutions, self.pools, self.reductions)
        for kind in kinds:
            for members in kind.values():
                yield from members
        yield from self.skips
        yield from self.others

    def weights(self) -> Iterator[list[nn.Conv2d]]:
        """The convolutions whose weights are used as one, in the order of `__call__`."""
        units = {kind: [m.operation.first for m in members] for kind, members in self.separable.items()}
        dilated = [[m.operation for m in members] for members in self.dilated.values()]
        halves = [*units.values(), *dilated]
        if halves:
            yield from ([unit.depthwise for unit in half] for half in halves)
            yield [unit.pointwise for half in halves for unit in half]
        if units:
            seconds = [[m.operation.second for m in members] for members in self.separable.values()]
            yield from ([unit.depthwise for unit in half] for half in seconds)
            yield [unit.pointwise for half in seconds for unit in half]
        yield from ([m.operation.body.conv for m in members] for members in self.convolutions.values())
        for members in self.reductions.values():
            yield [m.operation.reduce.even for m in members]
            yield [m.operation.reduce.odd for m in members]

    def pieces(self, training: bool, dropping: bool) -> list[list[Member]]:
        """The pieces of `__call__` in their order, each with the members that share it."""
        found = [[m] for kind in (self.separable, self.dilated, self.convolutions) for ms in kind.values() for m in ms]
        for (_, normed), members in sorted(self.pools.items(), key=lambda item: not item[0][1]):
            found += self._shared(members) if training or not normed else [[m] for m in members]
        found += [[m] for members in self.reductions.values() for m in members]
        found += [[m] for m in self.skips] if dropping else self._shared(self.skips)
        return found + [[m] for m in self.others]

    def _shared(self, members: Sequence[Member]) -> list[list[Member]]:
        by_source = [[m for m in members if m.source == source] for source in range(self.sources)]
        return by_source if members else []

    def __call__(
        self, x: Tensor, weights: Iterator[Tensor], norms: Norms, skip_dropout: float, chance: Chance
    ) -> list[Tensor]:
        """The pieces, side by side along the channels of one or several tensors.

        Args:
            x: the values, ``[batch, sources · C, height, width]``.
            weights: those of `weights`, each as one tensor.
            norms: the pass's.
            skip_dropout: the rate of dropout on each skip connection without parameters.
            chance: what dropout and noise are drawn from.
        """
        relu = F.relu(x)
        found = self._separable(relu, weights, norms)
        apart = [relu] if self.sources == 1 else relu.chunk(self.sources, dim=1)
        if self.convolutions:
            maps = [
                F.conv2d(apart[source], next(weights), None, self.stride, kernel // 2)
                for kernel, source in self.convolutions
            ]
            members = [m for ms in self.convolutions.values() for m in ms]
            found.append(norms(_joined(maps), [m.operation.body.norm for m in members]))
        found += self._pooled(x, norms)
        for source, members in self.reductions.items():
            y = _reduced(apart[source], next(weights), next(weights))
            found.append(norms(y, [m.operation.reduce.norm for m in members]))
        if self.skips and skip_dropout:
            found.append(dropped(_spread(x, self.sources, self.skips), skip_dropout, chance))
        elif self.skips:
            found.append(x)
        if self.others:
            own = x.chunk(self.sources, dim=1)
            for operation, source, *_ in self.others:
                drawn = isinstance(operation, Noise)
                value = own[source]
                found.append(noise(value, self.stride, chance) if drawn else shaped(operation, value, self.stride))
        return found

    def _separable(self, relu: Tensor, weights: Iterator[Tensor], norms: Norms) -> list[Tensor]:
        """Separable convolutions, then dilated ones, whose only half is like the first half of the others."""
        kinds = [*self.separable.items(), *self.dilated.items()]
        if not kinds:
            return []
        spread: dict[tuple[int, ...], Tensor] = {}
        features = []
        for (_, dilation), members in kinds:
            sources = tuple(m.source for m in members)
            if sources not in spread:
                spread[sources] = _spread(relu, self.sources, members)
            features.append(depthwise_conv(spread[sources], next(weights), self.stride, dilation))
        units = [m.operation.first for ms in self.separable.values() for m in ms]
        units += [m.operation for ms in self.dilated.values() for m in ms]
        y = norms(_in_groups(_joined(features), next(weights), len(units)), [unit.norm for unit in units])
        if not self.separable:
            return [y]
        channels = y.shape[1] // len(units)
        sizes = [channels * len(members) for members in self.separable.values()]
        inner, *outer = torch.split_with_sizes(y, [sum(sizes), y.shape[1] - sum(sizes)], 1) if self.dilated else [y]
        seconds = [m.operation.second for ms in self.separable.values() for m in ms]
        maps = [depthwise_conv(part, next(weights)) for part in torch.split_with_sizes(F.relu(inner), sizes, 1)]
        z = norms(_in_groups(_joined(maps), next(weights), len(seconds)), [unit.norm for unit in seconds])
        return [z, *outer]

    def _pooled(self, x: Tensor, norms: Norms) -> list[Tensor]:
        values = []
        owners: list[list[nn.BatchNorm2d]] = []
        plain = []
        for (kind, normed), members in self.pools.items():
            value = F.max_pool2d(x, 3, self.stride, padding=1) if kind == "max" else average_3x3(x, self.stride)
            if not normed:
                plain.append(value)
                continue
            values.append(value if norms.training else _spread(value, self.sources, members))
            shared = self._shared(members) if norms.training else [[m] for m in members]
            owners += [[m.operation.norm for m in ms] for ms in shared]
        return ([norms.shared(_joined(values), owners)] if values else []) + plain


class Norms:
    """The batch normalisations of one pass through a cell: over many candidates' channels at a time.

    Their running statistics move at the end of the pass, all in a few calls (`track`), as `torch.nn.BatchNorm2d` moves
    them: towards the batch's mean and unbiased variance.
    """

    def __init__(self, training: bool) -> None:
        self.training = training
        self._eps = 0.0
        self._seen: list[tuple[list[list[nn.BatchNorm2d]], Tensor, Tensor, int]] = []

    def __call__(self, y: Tensor, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
        """``y [batch, n · C, height, width]``, normalised by n modules."""
        return self.shared(y, [[norm] for norm in norms])

    def shared(self, y: Tensor, owners: list[list[nn.BatchNorm2d]]) -> Tensor:
        """The same, where several modules may see the same channels; in evaluation mode each has channels of its
        own."""
        first = next(norm for norms in owners for norm in norms)
        self._eps = first.eps
        if not self.training:
            statistics = [_running(norm) for norms in owners for norm in norms]
            means, variances = (torch.cat(values) for values in zip(*statistics, strict=True))
            return F.batch_norm(y, means, variances, eps=first.eps)
        out, mean, inverse = torch.native_batch_norm(y, None, None, None, None, True, 0.0, first.eps)
        if first.track_running_stats:
            # Of bfloat16 a CPU gives statistics that are bfloat16 themselves.
            mean, inverse = (values.detach().to(_running(first)[0].dtype) for values in (mean, inverse))
            self._seen.append((owners, mean, inverse, y.numel() // y.shape[1]))
        return out

    @torch.no_grad()
    def track(self) -> None:
        """Move the running statistics."""
        running: list[Tensor] = []
        found: list[Tensor] = []
        moved: list[nn.BatchNorm2d] = []
        if not self._seen:
            return
        variances = torch._foreach_pow([inverse for _, _, inverse, _ in self._seen], -2)
        torch._foreach_sub_(variances, self._eps)
        torch._foreach_mul_(variances, [count / max(count - 1, 1) for _, _, _, count in self._seen])
        for (owners, mean, _, _), variance in zip(self._seen, variances, strict=True):
            for norms, *statistics in zip(owners, mean.chunk(len(owners)), variance.chunk(len(owners)), strict=True):
                for norm in norms:
                    running += _running(norm)
                    found += statistics
                moved += norms
        torch._foreach_lerp_(running, found, moved[0].momentum or 0.1)
        torch._foreach_add_([n.num_batches_tracked for n in moved if n.num_batches_tracked is not None], 1)


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


class Plan:
    """What a cell's passes have in common: which values enter together, and the edges that leave them.

    Args:
        edges: in the nodes' order, each a module that holds candidates; every node has one from each node before it.
        inputs: how many values enter the cell.
        stride: of the edges that leave them.
    """

    def __init__(self, edges: Sequence[nn.Module], inputs: int, stride: int) -> None:
        self._operations = [operation for edge in edges for operation in edge.children()]
        members: dict[int, list[Member]] = {}
        row = place = 0
        target = inputs
        while row < len(edges):
            for source, edge in enumerate(edges[row : row + target]):
                entered = max(source - inputs + 1, 0)  # the inputs enter first, then one node after the other
                for operation in edge.children():
                    member = Member(operation, source if entered == 0 else 0, target, place)
                    members.setdefault(entered, []).append(member)
                    place += 1
            row, target = row + target, target + 1
        self.places = place
        self.leaving = [
            Leaving(
                1 if entered else inputs, 1 if entered else stride, sorted(found, key=lambda m: (m.source, m.place))
            )
            for entered, found in sorted(members.items())
        ]
        self._stacks = [stack for leaving in self.leaving for stack in leaving.weights()]
        self._sizes = [sum(conv.weight.numel() for conv in stack) for stack in self._stacks]
        self._indices: dict[tuple[bool, bool, torch.device], Tensor] = {}

    def fits(self, edges: Sequence[nn.Module]) -> bool:
        """Whether these edges still hold the operations that it was made for."""
        operations = (operation for edge in edges for operation in edge.children())
        return all(own is other for own, other in zip(self._operations, operations, strict=True))

    def weights(self) -> Iterator[Tensor]:
        """All weights that are used as one, strung together and cut again: two calls for the whole cell."""
        if not self._stacks:
            return iter(())
        flat = torch.cat([conv.weight.reshape(-1) for stack in self._stacks for conv in stack])
        parts = torch.split_with_sizes(flat, self._sizes)
        return (part.view(-1, *stack[0].weight.shape[1:]) for part, stack in zip(parts, self._stacks, strict=True))

    def coefficients(self, mixture: Tensor, training: bool, dropping: bool) -> Iterator[Tensor]:
        """``A [targets, pieces]`` of every `Leaving`: the mixture, and 0 where a piece does not lead to a target."""
        key = (training, dropping, mixture.device)
        shapes = [(len(of.targets), len(of.pieces(training, dropping))) for of in self.leaving]
        if key not in self._indices:
            places = [self.places] * sum(rows * columns for rows, columns in shapes)
            start = 0
            for of, (rows, columns) in zip(self.leaving, shapes, strict=True):
                for column, piece in enumerate(of.pieces(training, dropping)):
                    for member in piece:
                        places[start + of.targets.index(member.target) * columns + column] = member.place
                start += rows * columns
            self._indices[key] = torch.tensor(places, device=mixture.device)
        padded = torch.cat([mixture.flatten(), mixture.new_zeros(1)])
        chosen = padded.index_select(0, self._indices[key])
        parts = torch.split_with_sizes(chosen, [rows * columns for rows, columns in shapes])
        return (part.view(shape) for part, shape in zip(parts, shapes, strict=True))


class Stacked:
    """One pass through a cell. Satisfies `poise.spaces.execution.Pass`.

    Args:
        plan: the cell's.
        mixture: ``[edges, candidates]``.
        training: whether batch statistics are used.
        skip_dropout, chance: as of `Source` of the other execution.
    """

    def __init__(self, plan: Plan, mixture: Tensor, training: bool, skip_dropout: float, chance: Chance | None) -> None:
        self._chance = chance or Global(mixture.device)
        self._skip_dropout = skip_dropout if training else 0.0
        self._norms = Norms(training)
        self._mixture = mixture
        self._leaving = iter(plan.leaving)
        self._weights = plan.weights()
        self._coefficients = plan.coefficients(mixture, training, self._skip_dropout > 0)
        self._sums: dict[int, list[Tensor]] = {}
        self._next = 0
        self._left = len(plan.leaving)

    def enter(self, values: Sequence[Tensor]) -> None:
        self._next = self._next or len(values)
        leaving, coefficients = next(self._leaving), next(self._coefficients)
        self._nothing = values[0][:, :, :: leaving.stride, :: leaving.stride]
        if leaving.targets:
            pieces = leaving(_joined(values), self._weights, self._norms, self._skip_dropout, self._chance)
            for target, value in zip(leaving.targets, _weighted(pieces, coefficients), strict=True):
                self._sums.setdefault(target, []).append(value)
        self._left -= 1
        if self._left == 0:
            self._norms.track()

    def node(self) -> Tensor:
        terms = self._sums.get(self._next, [])
        self._next += 1
        if not terms:
            return torch.zeros_like(self._nothing) + 0 * self._mixture.sum()
        if len(terms) > 1:
            return sum(terms[1:], start=terms[0])
        return terms[0].contiguous(memory_format=layout_of(self._nothing))


def _kernel(conv: nn.Conv2d) -> tuple[int, int]:
    return conv.kernel_size[0], conv.dilation[0]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Side by side along the channels."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def channels_last(x: Tensor) -> bool:
    """Whether the channels of a pixel lie side by side, and not the pixels of a channel."""
    return x.stride(1) == 1 and x.stride(3) != 1


def layout_of(x: Tensor) -> torch.memory_format:
    """The layout of what is computed from ``x``."""
    return torch.channels_last if channels_last(x) else torch.contiguous_format


def _spread(x: Tensor, sources: int, members: Sequence[Member]) -> Tensor:
    """A copy of its source for every member: ``[batch, sources · C, h, w] -> [batch, members · C, h, w]``."""
    wanted = [m.source for m in members]
    each = len(wanted) // sources
    if wanted != [source for source in range(sources) for _ in range(each)]:
        parts = x.chunk(sources, dim=1)
        return _joined([parts[source] for source in wanted])
    if each == 1:
        return x
    if channels_last(x):
        rows = torch.unflatten(x.permute(0, 2, 3, 1), 3, (sources, 1, -1)).expand(-1, -1, -1, -1, each, -1)
        return rows.flatten(3).permute(0, 3, 1, 2)
    return torch.unflatten(x, 1, (sources, 1, -1)).expand(-1, -1, each, -1, -1, -1).flatten(1, 3)


def _in_groups(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """A pointwise convolution of every group, ``weight [groups · C, K, 1, 1]``."""
    if channels_last(x) or groups == 1:
        return F.conv2d(x, weight, groups=groups)
    batch, _, height, width = x.shape
    y = weight.view(groups, -1, weight.shape[1]) @ x.view(batch, groups, -1, height * width)
    return y.view(batch, -1, height, width)


def _weighted(pieces: Sequence[Tensor], coefficients: Tensor) -> Sequence[Tensor]:
    """``A · pieces``, a tensor ``[batch, C, h, w]`` per target, for pieces side by side along the channels.

    Channels last it is a pointwise convolution with ``A ⊗ 1``, for every tensor of pieces: side by side in one, their
    gradients would be parts of another tensor, which batch normalisations take several times as long for.
    """
    targets, count = coefficients.shape
    if not channels_last(pieces[0]):
        batch, _, height, width = pieces[0].shape
        sums = torch.bmm(coefficients.expand(batch, -1, -1), _joined(pieces).view(batch, count, -1))
        return sums.view(batch, targets, -1, height, width).unbind(dim=1)
    channels = sum(part.shape[1] for part in pieces) // count
    ones = torch.eye(channels, dtype=coefficients.dtype, device=coefficients.device)
    weight = (coefficients[:, None, :, None] * ones[:, None, :]).reshape(-1, count * channels, 1, 1)
    weights = torch.split_with_sizes(weight, [part.shape[1] for part in pieces], 1)
    terms = [F.conv2d(part, own) for part, own in zip(pieces, weights, strict=True)]
    return sum(terms[1:], start=terms[0]).chunk(targets, dim=1)


def _reduced(x: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """The maps of `FactorizedReduce` of several members: ``even [members · C/2, C, 1, 1]``."""
    shifted = F.pad(x[:, :, 1::2, 1::2], (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    first, second = F.conv2d(x[:, :, ::2, ::2], even), F.conv2d(shifted, odd)
    channels = x.shape[1]
    members = (len(even) + len(odd)) // channels
    both = torch.cat([torch.unflatten(half, 1, (members, -1)) for half in (first, second)], dim=2)
    return both.flatten(1, 2)
