"""NAS-Bench-201 as a compact CSV: a column ``arch`` and one column per metric."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from poise.errors import Refused, unknown
from poise.genotype import Genotype
from poise.spaces.nasbench201 import CANDIDATES, NasBench201
from poise.truth.ground_truth import Notation
from poise.truth.table import TABLES, Column, Table
from poise.truth.tables.csv_text import header_of, read_columns

ALIASES = {
    "cifar10": "c10_test_200",
    "cifar100": "c100_test_200",
    "imagenet16-120": "in16_test_200",
    "cifar10-valid": "c10_val_200_mean_nb201",
    "params": "c10_params_M",
    "flops": "c10_flops_M",
}
"""Short names: test accuracy in % after 200 epochs, mean over seeds; accuracy on CIFAR-10's validation half, likewise;
millions of parameters and of multiply-additions on CIFAR-10. There is none for ``*_val_200_1seed``: those columns hold
TEST accuracies of seed 888 (on CIFAR-10 of the network trained on half of the data), in all three rows that could be
compared with the benchmark's own files; and every CIFAR-10 value there is a multiple of 1/10,000, the size of the test
set, where the validation set has 25,000 images. So nothing may be selected by them."""

_OPERATION = f"(?:{'|'.join(CANDIDATES)})"
_CELL = re.compile(r"\+".join("".join(rf"\|{_OPERATION}~{i}" for i in range(node)) + r"\|" for node in (1, 2, 3)))
_NAMES = re.compile(r"([^|~+]*)~")


def checked(text: str) -> str:
    """The text, if it is an architecture as the benchmark writes it; else `Refused`. Much faster than parsing it."""
    if _CELL.fullmatch(text):
        return text
    for name in _NAMES.findall(text):
        if name not in CANDIDATES:
            raise unknown("operation of NAS-Bench-201", name, CANDIDATES)
    raise Refused(f"not a NAS-Bench-201 string |op~0|+|op~0|op~1|+|op~0|op~1|op~2|: {text!r:.120}")


NOTATION = Notation(NasBench201().describe, Genotype.parse)


def lower_is_better(metric: str) -> bool:
    """Costs: latencies, parameters, operations."""
    return metric.startswith("lat_") or metric.endswith(("_params_M", "_flops_M"))


def table_of(texts: Sequence[str], columns: Mapping[str, Column], lower: frozenset[str] = frozenset()) -> Table:
    """The table of these cells, written as the benchmark does; its costs and short names are known by the columns."""
    aliases = {short: name for short, name in ALIASES.items() if name in columns}
    costs = frozenset(filter(lower_is_better, columns))
    return Table("nasbench201", texts, columns, NOTATION, costs | lower, aliases)


@TABLES.add("nasbench201")
class NasBench201Csv:
    """The compact CSV of NAS-Bench-201: a column ``arch``, metrics by the file's names, short names `ALIASES`."""

    form = "the compact NAS-Bench-201 CSV (a column arch and numeric columns)"

    @classmethod
    def matches(cls, path: Path) -> bool:
        return "arch" in header_of(path)

    @classmethod
    def open(cls, path: Path, lower: frozenset[str]) -> Table:
        return table_of(*read_columns(path, "arch", checked, ignored=("index",)), lower)
