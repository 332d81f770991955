"""The execution `stacked` of mixed cells: everything that leaves a node goes through few, wide kernels.

Edges that leave one node read the same values, and candidates of one kind differ in their weights alone. So for all
edges that leave the values that enter together (the inputs of a cell, or one node) there is

- one ReLU, and one copy of it per edge;
- one depthwise convolution per kernel, over the channels of all edges; one product for all pointwise maps, in groups;
  one batch normalisation over all of them; likewise for the second halves of separable convolutions;
- one pooling of each kind, normalised once while the statistics are the batch's;
- one product ``A · pieces`` that weighs the candidates' outputs and adds up those of a node: ``A [targets, pieces]``
  holds the mixture, and zeros where a piece does not lead.

`poise.spaces.stages` has all but the last, kind by kind, on the kernels of `poise.spaces.wide`; this file puts stages
in a cell's order. The weights of a cell are strung together once per pass. Every operation is one of torch's own, and
so are derivatives of any order. What is computed is the textbook's, channel by channel: only calls are saved, which are
nearly all the time of a small problem, and of a GPU. `poise.spaces.normed` takes less arithmetic and memory, and ten
times the calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from poise.spaces.norms import Norms
from poise.spaces.stages import Entered, Member, Pieces, stages
from poise.spaces.wide import joined, layout_of, weighted
from poise.supernet.draws import Chance, Global


class Leaving:
    """The edges that leave ``sources`` values which enter together, in stages."""

    def __init__(self, members: Sequence[Member], sources: int, stride: int) -> None:
        self.sources = sources
        self.stride = stride
        self._stages = stages(sorted(members, key=lambda m: m.source), sources)
        self.stacks = [stack for stage in self._stages for stack in stage.stacks]
        self.targets = sorted({m.target for piece in self.pieces(training=False, dropping=True) for m in piece})

    def pieces(self, training: bool, dropping: bool) -> Pieces:
        """Those of all stages."""
        return [piece for stage in self._stages for piece in stage.pieces(training, dropping)]

    def __call__(self, entered: Entered, weights: Iterator[Tensor]) -> list[Tensor]:
        """The pieces, side by side along the channels of one or several tensors; ``weights`` are those of `stacks`."""
        own = [list(islice(weights, len(stage.stacks))) for stage in self._stages]
        return [part for stage, ws in zip(self._stages, own, strict=True) for part in stage(entered, ws)]


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
        self._places = place
        self.leaving = [
            Leaving(members[entered], 1 if entered else inputs, 1 if entered else stride) for entered in sorted(members)
        ]
        self._stacks = [stack for leaving in self.leaving for stack in leaving.stacks]
        self._sizes = [sum(conv.weight.numel() for conv in stack) for stack in self._stacks]
        self._indices: dict[tuple[bool, bool, torch.device], tuple[Tensor, list[tuple[int, int]]]] = {}

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
        if key not in self._indices:
            self._indices[key] = self._index(*key)
        index, shapes = self._indices[key]
        padded = torch.cat([mixture.flatten(), mixture.new_zeros(1)])
        parts = torch.split_with_sizes(padded.index_select(0, index), [rows * columns for rows, columns in shapes])
        return (part.view(shape) for part, shape in zip(parts, shapes, strict=True))

    def _index(self, training: bool, dropping: bool, device: torch.device) -> tuple[Tensor, list[tuple[int, int]]]:
        """Where every entry of the `coefficients` is in the mixture, a zero after it; and their shapes."""
        places: list[int] = []
        shapes = []
        for leaving in self.leaving:
            pieces = leaving.pieces(training, dropping)
            shapes.append((len(leaving.targets), len(pieces)))
            for target in leaving.targets:
                for piece in pieces:
                    (place,) = [m.place for m in piece if m.target == target] or [self._places]
                    places.append(place)
        return torch.tensor(places, device=device), shapes


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
            x, sources = joined(values), leaving.sources
            entered = Entered(x, sources, leaving.stride, self._norms, self._skip_dropout, self._chance)
            pieces = leaving(entered, self._weights)
            for target, value in zip(leaving.targets, weighted(pieces, coefficients), strict=True):
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
