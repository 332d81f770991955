"""What NAS-Bench-201 knows of a cell that a search has found, in words and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from poise.errors import Refused
from poise.genotype import Genotype
from poise.report.page import Grid, Paragraph, Section
from poise.report.tables import rows_table
from poise.truth.shipped import SPACE, shipped_table

COLUMNS = {"CIFAR-10": "c10_test_200", "CIFAR-100": "c100_test_200", "ImageNet16-120": "in16_test_200"}
"""Data set -> column of its test accuracy after 200 epochs."""
TRAINING = "200 epochs of training (16 channels, N = 5)"


@dataclass(frozen=True)
class Known:
    """A sentence, and a row for each data set below a head; no rows where the table cannot be read."""

    text: str
    rows: Sequence[Sequence[str]] = ()

    def table(self) -> Table | Text:
        """For the terminal."""
        if not self.rows:
            return Text(self.text)
        caption = Text(f"This cell in NAS-Bench-201, after {TRAINING}; no figures for your data.")
        found = rows_table(self.rows, self.rows[0][:1])
        found.caption, found.caption_justify = caption, "left"
        return found

    def section(self) -> Section:
        """For the page of a run."""
        grid = [Grid(self.rows[1:], self.rows[0])] if self.rows else []
        return Section("What is known of this cell", [Paragraph(f"{self.text[0].upper()}{self.text[1:]}."), *grid])


def known(genotype: Genotype) -> Known | None:
    """What the table that comes with poise says of an architecture; None for a space that it is not of.

    The figures are those of the benchmark's own data and training, which the sentence names: what the architecture
    reaches on other data they do not say. Where the table cannot be read, the sentence says so: a search that is over
    shall not fail for it.
    """
    if genotype.space != SPACE:
        return None
    try:
        truth = shipped_table(SPACE)
        values = truth.lookup(genotype)
        ranks = {name: f"{truth.rank(genotype, name):,}" for name in COLUMNS.values()}
        shares = {name: f"{truth.percentile(genotype, name):.1f}%" for name in COLUMNS.values()}
    except Refused as error:
        return Known(str(error))
    rows = [[data, f"{values[name]:.2f}%", ranks[name], shares[name]] for data, name in COLUMNS.items()]
    data, accuracy, rank, _ = rows[0]
    return Known(
        f"in NAS-Bench-201 this cell has {accuracy} test accuracy on {data} after {TRAINING}, rank {rank} of "
        f"{len(truth):,}; that is the benchmark's figure, not one for your data",
        [["data set", "test accuracy", f"rank of {len(truth):,}", "better than"], *rows],
    )
