"""Which of NAS-Bench-201's 15,625 cells compute the same: a canonical form of a cell.

The rules are those of the paper (Dong and Yang, arXiv:2001.00326): ``none`` removes an edge, ``skip_connect`` is the
identity, the inputs of a node are a sum without order, and what does not lead from the input to the output vanishes.
Applied to the end they leave **5,260** different cells. The paper counts 6,466. Three differences lead from its count,
that of its released code, to this one:

1. There a zero stays a term of a sum: ``x + 0`` is not recognised as ``x``, and a convolution of ``0 + 0`` is not
   recognised as a convolution of nothing. Removing such terms leaves 5,390.
2. There a sum of sums is sorted before it is flattened, so that ``(a + c) + b`` and ``(a + b) + c`` can differ, and
   the count depends on how the texts happen to sort. Sums as multisets leave 4,930.
3. There two paths through ONE convolution look like two paths through TWO convolutions of their own: the first has
   half the weights of the second, and ``w(x) + w(x)`` is not ``w(x) + v(x)``. Here they are told apart: 5,260.

So the paper's classes hold cells that are not equivalent. In the benchmark's table this shows: CIFAR-100 accuracies
differ with a standard deviation of 0.41 within the paper's classes and 0.37 within these.

Two things remain outside. A convolution of nothing is taken for nothing, as in the paper; but its batch
normalisation has a shift, so that such an edge can learn a constant per channel (telling these apart leaves 5,875
cells). And that average pooling of a sum is the sum of the poolings is not used (it would leave 5,044).
"""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import NamedTuple

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.nasbench201 import EDGES, NasBench201

SPACE = NasBench201()
NOTHING = "0"
INPUT = "x"


class _Term(NamedTuple):
    """An operation applied to a sum. ``weights`` is the edge of a convolution, None where there are no weights."""

    operation: str
    weights: int | None
    argument: _Sum


_Sum = tuple[_Term | None, ...]
"""A node's value; None is the cell's input."""


def canonical_form(genotype: Genotype) -> str:
    """What the cell computes, as a text that is the same for all equivalent cells.

    ``x`` is the input, ``0`` nothing. A convolution that several paths go through is numbered, ``nor_conv_3x3#1(x)``;
    one without a number has weights of its own.

    >>> cell = Genotype.parse("|none~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")
    >>> canonical_form(cell)
    'nor_conv_3x3(x)'

    Raises:
        Refused: it is not a genotype of NAS-Bench-201's space.
    """
    if genotype.space != SPACE.name:
        raise Refused(f"equivalent cells are known for space {SPACE.name!r} only, got {genotype.space!r}")
    SPACE.check(genotype)
    output = _output(genotype)
    uses = Counter(_weights(output))
    shared = sorted(edge for edge, count in uses.items() if count > 1)
    numberings = permutations(range(1, len(shared) + 1))
    return min(_written(output, dict(zip(shared, numbers, strict=True))) for numbers in numberings)


def equivalent(first: Genotype, second: Genotype) -> bool:
    """Whether two cells of NAS-Bench-201 compute the same, given corresponding weights."""
    return canonical_form(first) == canonical_form(second)


def _output(genotype: Genotype) -> _Sum:
    """The value of the last node."""
    rows = genotype.choices["cell"]
    nodes: list[_Sum] = [(None,), (), (), ()]
    for edge, (source, target) in enumerate(EDGES):
        (operation,) = rows.get(f"{source}->{target}", ("none",))
        value = nodes[source]
        if operation == "none" or not value:
            continue
        if operation != "skip_connect":
            value = (_Term(operation, edge if operation.startswith("nor_conv") else None, value),)
        nodes[target] += value
    return nodes[-1]


def _weights(value: _Sum) -> list[int]:
    """The edges of the convolutions on all paths, as often as a path leads through them."""
    found: list[int] = []
    for term in value:
        if term is not None:
            found += [*_weights(term.argument), *(() if term.weights is None else (term.weights,))]
    return found


def _written(value: _Sum, numbers: dict[int, int]) -> str:
    terms = []
    for term in value:
        if term is None:
            terms.append(INPUT)
        else:
            number = f"#{numbers[term.weights]}" if term.weights in numbers else ""
            terms.append(f"{term.operation}{number}({_written(term.argument, numbers)})")
    return " + ".join(sorted(terms)) or NOTHING
