"""Cells of NAS-Bench-101: a directed acyclic graph of at most 7 vertices and 9 edges, an operation on every inner one.

Source: Ying et al., NAS-Bench-101: Towards Reproducible Neural Architecture Search (ICML 2019, arXiv:1902.09635),
section 2. Vertex 0 is the cell's input, the last one its output.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5

from poise.errors import Refused, unknown

OPERATIONS = ("conv3x3-bn-relu", "conv1x1-bn-relu", "maxpool3x3")
"""In the order in which the benchmark numbers them."""

LARGEST_VERTICES, LARGEST_EDGES = 7, 9


@dataclass(frozen=True)
class Cell:
    """A cell as it is given; it may hold vertices that no path from the input to the output passes, see `pruned`.

    Args:
        edges: ``(source, target)`` with ``source < target``.
        operations: of the inner vertices ``1 … n``; the output is vertex ``n + 1``.
    """

    edges: frozenset[tuple[int, int]]
    operations: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", frozenset(self.edges))
        for name in self.operations:
            if name not in OPERATIONS:
                raise unknown("operation of NAS-Bench-101", name, OPERATIONS)
        for source, target in self.edges:
            if not 0 <= source < target < self.vertices:
                raise Refused(
                    f"an edge leads from a vertex to a later one of the {self.vertices}, got {source} -> {target}"
                )

    @staticmethod
    def of_matrix(matrix: str, operations: str) -> Cell:
        """From the benchmark's texts: the adjacency matrix row by row, ``0`` and ``1``, and all labels with commas."""
        labels = operations.split(",")
        size = len(labels)
        if len(matrix) != size * size or set(matrix) - {"0", "1"} or labels[:1] + labels[-1:] != ["input", "output"]:
            raise Refused(f"not a cell of NAS-Bench-101: {matrix[:60]!r} with {operations[:80]!r}")
        ones = (divmod(place, size) for place, digit in enumerate(matrix) if digit == "1")
        return Cell(frozenset(ones), tuple(labels[1:-1]))

    @staticmethod
    def parse(text: str) -> Cell:
        """From `text`. Raises `Refused` if it is none."""
        matrix, _, operations = text.strip().partition(" ")
        return Cell.of_matrix(matrix, operations.strip())

    @property
    def text(self) -> str:
        """Adjacency matrix and labels as `of_matrix` takes them, a blank between."""
        size = self.vertices
        matrix = "".join("01"[(s, t) in self.edges] for s in range(size) for t in range(size))
        return f"{matrix} {','.join(('input', *self.operations, 'output'))}"

    @property
    def vertices(self) -> int:
        """Input and output included."""
        return len(self.operations) + 2

    @property
    def pruned(self) -> Cell | None:
        """Without the vertices that are not on a path from input to output; None if there is no such path."""
        last = self.vertices - 1
        after = _reached(0, {(s, t) for s, t in self.edges})
        before = _reached(last, {(t, s) for s, t in self.edges})
        alive = sorted(after & before)
        if last not in alive or 0 not in alive:
            return None
        number = {vertex: place for place, vertex in enumerate(alive)}
        edges = frozenset((number[s], number[t]) for s, t in self.edges if s in number and t in number)
        return Cell(edges, tuple(self.operations[vertex - 1] for vertex in alive[1:-1]))

    @property
    def in_benchmark(self) -> bool:
        """Whether the benchmark has trained it: connected, and within its limits once it is pruned."""
        cell = self.pruned
        return cell is not None and cell.vertices <= LARGEST_VERTICES and len(cell.edges) <= LARGEST_EDGES

    @property
    def hash(self) -> str:
        """The benchmark's name of the pruned cell, the same for all isomorphic ones: MD5, refined over neighbours.

        Raises `Refused` for a cell whose input does not reach its output.
        """
        cell = self.pruned
        if cell is None:
            raise Refused("the cell's input does not reach its output")
        size = cell.vertices
        labels = [-1, *(OPERATIONS.index(name) for name in cell.operations), -2]
        into = [[s for s, t in cell.edges if t == vertex] for vertex in range(size)]
        out = [[t for s, t in cell.edges if s == vertex] for vertex in range(size)]
        names = [_digest(str((len(out[v]), len(into[v]), labels[v]))) for v in range(size)]
        for _ in range(size):
            names = [_digest(f"{_joined(names, into[v])}|{_joined(names, out[v])}|{names[v]}") for v in range(size)]
        return _digest(str(sorted(names)))


def _joined(names: list[str], vertices: list[int]) -> str:
    return "".join(sorted(names[vertex] for vertex in vertices))


def _digest(text: str) -> str:
    return md5(text.encode("utf-8"), usedforsecurity=False).hexdigest()


def _reached(start: int, steps: set[tuple[int, int]]) -> set[int]:
    found, border = {start}, [start]
    while border:
        here = border.pop()
        new = {t for s, t in steps if s == here} - found
        found |= new
        border += new
    return found
