"""Make the table of NAS-Bench-201 that poise ships, and its checksum, from a full table of the benchmark.

    python tools/nasbench201_table.py table.csv.gz src/poise/truth/data

The input is a CSV with a column ``arch`` and the columns below; others are left out. What was left out on purpose:
latencies (they would triple the size), and columns named ``*_val_200_1seed``, which hold TEST accuracies. The same
input and the same pyarrow make the same bytes.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from poise.errors import Refused
from poise.truth.table import open_table

NAME = "nasbench201.parquet"
CELLS = 15_625
COLUMNS = (
    "c10_test_200",
    "c100_test_200",
    "in16_test_200",
    "c10_val_200_mean_nb201",
    "c10_test_12",
    "c100_test_12",
    "in16_test_12",
    "c10_params_M",
    "c10_flops_M",
)
ORIGIN = {
    "title": "NAS-Bench-201 (the topology search space of NATS-Bench): all 15,625 cells",
    "source": "https://github.com/D-X-Y/NATS-Bench and https://github.com/D-X-Y/NAS-Bench-201",
    "licence": "MIT, Copyright (c) since 2019 Xuanyi Dong; the full text lies beside this file",
    "citation": "Dong and Yang, NAS-Bench-201, ICLR 2020, arXiv:2001.00326; "
    "Dong, Liu, Musial and Gabrys, NATS-Bench, TPAMI 2021, arXiv:2009.00437",
}


def make(source: Path, folder: Path) -> Path:
    """Write the table and, beside it, its SHA-256. Raises `Refused` for a source that is incomplete."""
    full = open_table(source).of("nasbench201")
    if len(full) != CELLS:
        raise Refused(f"{source} holds {len(full):,} cells, expected {CELLS:,}")
    order = np.argsort(full.texts)
    columns: dict[str, object] = {"arch": [full.texts[position] for position in order]}
    for name in COLUMNS:
        values = full.column(name)[order].astype(np.float32)
        if np.isnan(values).any():
            raise Refused(f"{source} lacks values of {name}")
        columns[name] = values
    target = folder / NAME
    pq.write_table(
        pa.table(columns).replace_schema_metadata(ORIGIN),
        target,
        compression="zstd",
        compression_level=19,
        use_dictionary=list(COLUMNS),  # accuracies are shares of a few thousand images: they repeat
        column_encoding={"arch": "DELTA_BYTE_ARRAY"},  # sorted texts share their beginnings
    )
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    target.with_suffix(".parquet.sha256").write_text(f"{digest}  {NAME}\n", encoding="ascii")
    return target


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), Path(sys.argv[2])))
