"""Cells of NAS-Bench-101: pruned by hand, named as the benchmark names them."""

from __future__ import annotations

import random

import pytest

from poise.errors import Refused
from poise.spaces.nasbench101 import OPERATIONS, Cell

C3, C1, MP = OPERATIONS
INCEPTION = (
    "0111010" "0000001" "0000001" "0000100" "0000001" "0000001" "0000000",
    f"input,{C1},{C3},{C3},{C3},{MP},output",
)  # fmt: skip


@pytest.mark.parametrize(
    ("matrix", "operations", "name"),
    [
        (*INCEPTION, "28cfc7874f6d200472e1a9dcd8650aa0"),
        ("0100", "input,output", "043721b9c7fe8c5fad811d47d83132ec"),
        ("010001000", f"input,{C3},output", "b49ac8c578b4561d79ac7087988f1c61"),
    ],
)
def test_names_are_those_that_the_benchmarks_own_code_gives(matrix: str, operations: str, name: str) -> None:
    assert Cell.of_matrix(matrix, operations).hash == name


def test_pruning_by_hand() -> None:
    """0 -> 1 -> 4, 0 -> 2 (leads nowhere), 3 -> 4 (comes from nowhere): 0 -> 1 -> 2 is left."""
    cell = Cell(frozenset({(0, 1), (1, 4), (0, 2), (3, 4)}), (C1, C3, MP))
    assert cell.pruned == Cell(frozenset({(0, 1), (1, 2)}), (C1,))
    assert cell.hash == Cell(frozenset({(0, 1), (1, 2)}), (C1,)).hash
    assert cell.in_benchmark
    assert Cell(frozenset({(0, 1), (2, 3)}), (C1, C3)).pruned is None
    assert not Cell(frozenset({(0, 1), (2, 3)}), (C1, C3)).in_benchmark
    with pytest.raises(Refused, match="does not reach"):
        _ = Cell(frozenset(), (C1,)).hash


def renamed(cell: Cell, order: list[int]) -> Cell | None:
    """The same graph with its inner vertices in another order; None if an edge would then lead back."""
    place = {0: 0, cell.vertices - 1: cell.vertices - 1} | {old: new + 1 for new, old in enumerate(order)}
    edges = {(place[s], place[t]) for s, t in cell.edges}
    if any(s >= t for s, t in edges):
        return None
    return Cell(frozenset(edges), tuple(cell.operations[old - 1] for old in order))


def test_names_do_not_depend_on_the_order_of_vertices_and_tell_other_cells_apart() -> None:
    generator = random.Random(0)
    equal = 0
    names: dict[str, set[tuple[frozenset[tuple[int, int]], tuple[str, ...]]]] = {}
    for _ in range(1500):
        inner = generator.randint(1, 5)
        edges = {(s, t) for t in range(1, inner + 2) for s in range(t) if generator.random() < 0.5}
        cell = Cell(frozenset(edges), tuple(generator.choice(OPERATIONS) for _ in range(inner)))
        if (pruned := cell.pruned) is None:
            continue
        order = generator.sample(range(1, pruned.vertices - 1), pruned.vertices - 2)
        if (other := renamed(pruned, order)) is not None and other != pruned:
            assert other.hash == cell.hash
            equal += 1
        # What any isomorphism keeps: how often each operation occurs with how many edges in and out.
        kinds = tuple(
            sorted(
                (name, sum(t == v for _, t in pruned.edges), sum(s == v for s, _ in pruned.edges))
                for v, name in enumerate(pruned.operations, start=1)
            )
        )
        names.setdefault(cell.hash, set()).add((frozenset(), tuple(map(str, kinds))))
    assert equal > 20
    assert all(len(kinds) == 1 for kinds in names.values())
    assert len(names) > 100


@pytest.mark.parametrize("changed", [{(0, 1)}, {(0, 2)}])
def test_another_edge_or_operation_is_another_name(changed: set[tuple[int, int]]) -> None:
    cell = Cell(frozenset({(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)}), (C3, C1))
    assert Cell(cell.edges - changed, cell.operations).hash != cell.hash
    assert Cell(cell.edges, (C1, C3)).hash != cell.hash


def test_the_limits_of_the_benchmark() -> None:
    full = frozenset((s, t) for t in range(1, 7) for s in range(t))
    crowded = Cell(full, (C3,) * 5)
    assert len(crowded.edges) == 21
    assert not crowded.in_benchmark
    deep = Cell(frozenset((v, v + 1) for v in range(7)), (C3,) * 6)
    assert deep.vertices == 8
    assert not deep.in_benchmark
    assert Cell(frozenset((v, v + 1) for v in range(6)), (C3,) * 5).in_benchmark


def test_refusals() -> None:
    with pytest.raises(Refused, match="conv3x3-bn-relu"):
        Cell(frozenset(), ("conv3x3-bn-rely",))
    for edge in ((1, 1), (2, 1), (0, 3), (-1, 1)):
        with pytest.raises(Refused, match="later one of the 3"):
            Cell(frozenset({edge}), (C3,))
    for matrix, operations in (("010", "input,output"), ("0200", "input,output"), ("0100", f"input,{C3}")):
        with pytest.raises(Refused, match="not a cell"):
            Cell.of_matrix(matrix, operations)
