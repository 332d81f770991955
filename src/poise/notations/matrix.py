"""NAS-Bench-101's adjacency matrix and labels, ``0110…0 input,conv3x3-bn-relu,…,output``, of cells of NAS-Bench-1Shot1
with all their blocks."""

from __future__ import annotations

import re
from collections.abc import Collection

from poise.errors import Refused
from poise.genotype import NOTATIONS, Genotype, Notation

OPERATIONS, OUTPUT = "operations", "output"
"""Groups: the operation of every block, and what the output reads."""
ROW = "vertices"
"""The one row of a group that chooses inputs."""
PARENTS = {
    "nasbench1shot1-1": (1, 2, 2, 2, 2),
    "nasbench1shot1-2": (1, 1, 2, 2, 3),
    "nasbench1shot1-3": (1, 1, 1, 2, 2, 2),
}
"""How many inputs each block and, last, the output takes; no two spaces have the same."""

_CELL = re.compile(r"([01]+)\s+input,((?:[A-Za-z0-9-]+,)+)output")


def input_group(block: int) -> str:
    """The name of the group that chooses a block's inputs."""
    return f"input.{block}"


def read(text: str, space: str) -> Genotype:
    """Operations, and the inputs of every vertex that does not take all there are. How many inputs they take, and not
    ``space``, says which space the cell belongs to."""
    match = _CELL.fullmatch(text)
    operations = match[2].rstrip(",").split(",") if match else []
    size = len(operations) + 2
    if match is None or len(match[1]) != size * size:
        raise Refused(
            "not a cell of NAS-Bench-101: expected an adjacency matrix of 0 and 1, a blank and its labels, "
            f"input,...,output; got {text[:80]!r}"
        )
    into = [[source for source in range(size) if match[1][source * size + target] == "1"] for target in range(size)]
    counts = tuple(map(len, into[1:]))
    spaces = [name for name, parents in PARENTS.items() if parents == counts]
    if not spaces or any(source >= target for target, found in enumerate(into) for source in found):
        known = "; ".join(f"{', '.join(map(str, parents))} ({name})" for name, parents in PARENTS.items())
        raise Refused(f"a cell of NAS-Bench-1Shot1 takes from earlier vertices as many inputs as {known}; got {counts}")
    choices: dict[str, dict[str, tuple[str, ...]]] = {}
    choices[OPERATIONS] = {str(block): (name,) for block, name in enumerate(operations, start=1)}
    for vertex, found in enumerate(into[1:], start=1):
        if len(found) < vertex:
            choices[OUTPUT if vertex == size - 1 else input_group(vertex)] = {ROW: tuple(map(str, found))}
    return Genotype(spaces[0], choices)


def write(genotype: Genotype) -> str:
    """The matrix row by row and, after a blank, all labels. Vertices without a choice take all inputs there are."""
    operations = genotype.choices[OPERATIONS]
    size = len(operations) + 2
    into: list[Collection[str]] = []
    for vertex in range(size):
        rows = genotype.choices.get(OUTPUT if vertex == size - 1 else input_group(vertex))
        into.append([str(source) for source in range(vertex)] if rows is None else rows[ROW])
    matrix = "".join("01"[str(source) in into[target]] for source in range(size) for target in range(size))
    labels = ["input", *(operations[str(block)][0] for block in range(1, size - 1)), "output"]
    return f"{matrix} {','.join(labels)}"


NOTATIONS.add("matrix")(
    Notation(
        form="a NAS-Bench-101 matrix and labels",
        meant=r"\A[01]{4,}(?:\s|$)",
        within=r"(?<!\w)[01]{9,}\s+input,(?:[A-Za-z0-9-]+,)+output",
        read=read,
    )
)
