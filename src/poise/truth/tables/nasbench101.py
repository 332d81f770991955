"""NAS-Bench-101 as the compact CSV that `importing101` makes: a row for every cell, by the benchmark's hash."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.nasbench1shot1 import NasBench1Shot1
from poise.spaces.nasbench101 import Cell
from poise.spaces.space import SPACES
from poise.truth.ground_truth import Notation
from poise.truth.table import TABLES, Table
from poise.truth.tables.csv_text import header_of, read_columns

SPACE_NAMES = ("nasbench1shot1-1", "nasbench1shot1-2", "nasbench1shot1-3")
ALIASES = {"cifar10": "test", "cifar10-valid": "validation", "params": "params_M"}
COSTS = ("seconds", "params_M")

_HASH = re.compile(r"[0-9a-f]{32}")


def checked(text: str) -> str:
    """The text, if it can be a cell's hash; else `Refused`."""
    if not _HASH.fullmatch(text):
        raise Refused(f"not a hash of NAS-Bench-101, 32 digits of 0-9 and a-f: {text!r:.80}")
    return text


def space_of(name: str) -> NasBench1Shot1:
    """The space of this name."""
    found = SPACES[name]()
    assert isinstance(found, NasBench1Shot1)
    return found


def hash_of(genotype: Genotype) -> str:
    """The benchmark's name of the pruned cell."""
    return space_of(genotype.space).cell(genotype).hash


def key(text: str) -> str:
    """The hash: as it stands, of a cell as the benchmark writes it (matrix and labels; of a space or not), or of a
    genotype."""
    text = text.strip()
    if _HASH.fullmatch(text):
        return text
    if " " in text and set(text.partition(" ")[0]) <= {"0", "1"}:
        return Cell.parse(text).hash
    genotype = Genotype.parse(text, SPACE_NAMES[0])
    if genotype.space not in SPACE_NAMES:
        raise Refused(f"the genotype belongs to space {genotype.space!r}, expected {', '.join(SPACE_NAMES)}")
    return hash_of(genotype)


def no_genotype(text: str) -> Genotype:
    """A hash alone is no genotype."""
    raise Refused(f"cell {text:.40} is known by its hash alone; a table of one space (Table.of) knows its genotypes")


def members(space: str) -> Mapping[str, str]:
    """Hash -> one of the cells that have it, with all blocks. About 1 s; for space 3 about 15 s."""
    return {cell.hash: cell.text for cell in space_of(space).cells_of_benchmark()}


@TABLES.add("nasbench101")
class NasBench101Csv:
    """The compact CSV of NAS-Bench-101: ``hash``, ``adjacency``, ``operations``, and numeric columns.

    Ranks are among all of its cells; `Table.of` narrows it to those of one space.
    """

    form = "the compact NAS-Bench-101 CSV (columns hash, adjacency and operations, and numeric columns)"

    @classmethod
    def matches(cls, path: Path) -> bool:
        return {"hash", "adjacency", "operations"} <= set(header_of(path))

    @classmethod
    def open(cls, path: Path, lower: frozenset[str]) -> Table:
        texts, columns = read_columns(path, "hash", checked, ignored=("adjacency", "operations"))
        aliases = {short: name for short, name in ALIASES.items() if name in columns}
        costs = frozenset(name for name in COSTS if name in columns)
        notation = Notation(hash_of, no_genotype, key)
        first, *others = SPACE_NAMES
        return Table(first, texts, columns, notation, costs | lower, aliases, others=tuple(others), members=members)
