"""Measurements of your own: a CSV with a column ``genotype`` and any numeric columns."""

from __future__ import annotations

from pathlib import Path

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.space import SPACES, Space
from poise.truth.ground_truth import JSON
from poise.truth.table import TABLES, Table
from poise.truth.tables.csv_text import header_of, read_columns


class _Reader:
    """Texts of genotypes to the notation of the table; all must be of the space of the first."""

    def __init__(self) -> None:
        self.space: Space | None = None

    def __call__(self, text: str) -> str:
        genotype = Genotype.parse(text)
        if self.space is None:
            self.space = SPACES[genotype.space]()
        self.space.check(genotype)
        return JSON.write(genotype)


@TABLES.add("own")
class OwnCsv:
    """A CSV with a column ``genotype`` in any notation that `Genotype.parse` reads; all of one registered space."""

    form = "a CSV with a column genotype and numeric columns"

    @classmethod
    def matches(cls, path: Path) -> bool:
        names = header_of(path)
        return "genotype" in names and "arch" not in names

    @classmethod
    def open(cls, path: Path, lower: frozenset[str]) -> Table:
        reader = _Reader()
        texts, columns = read_columns(path, "genotype", reader)
        if reader.space is None:
            raise Refused(f"{path} holds no architecture")
        return Table(reader.space.name, texts, columns, lower=lower)
