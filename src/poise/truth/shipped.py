"""The table that comes with poise: all 15,625 cells of NAS-Bench-201, without latencies.

``tools/nasbench201_table.py`` made it; ``data/nasbench201.LICENSE.txt`` says where its numbers are from, what each
column holds, and on what terms it may be passed on.
"""

from __future__ import annotations

import hashlib
import io
from importlib.resources import files

import numpy as np

from poise.errors import Refused
from poise.truth.table import Table
from poise.truth.tables.nasbench201 import table_of

SPACE = "nasbench201"
"""The space that it is of."""
ABOUT = (
    "From the table that comes with poise: accuracies in % on CIFAR-10 (c10), CIFAR-100 (c100) and ImageNet16-120 "
    "(in16) after 200 or 12 epochs, as NAS-Bench-201's authors measured them; parameters and operations in millions. "
    "It holds no latencies; --table takes a table that does."
)


def shipped_table(space: str) -> Table:
    """The table of a space that comes with poise.

    Raises `Refused` if there is none of this space, or if the file is not the one that was packaged.
    """
    if space != SPACE:
        raise Refused(f"poise comes with a table of {SPACE} only, not of {space}; say with --table where yours is")
    folder, name = files("poise.truth") / "data", f"{SPACE}.parquet"
    try:
        content, expected = (folder / name).read_bytes(), (folder / f"{name}.sha256").read_bytes()
        if not expected.startswith(hashlib.sha256(content).hexdigest().encode("ascii")):
            raise Refused(
                f"the table that comes with poise was changed or damaged: {folder / name}; install poise again"
            )
        from pyarrow import parquet

        read = parquet.read_table(io.BytesIO(content), use_threads=False)
    except (OSError, ImportError, MemoryError) as error:  # also where hardly any memory is left
        raise Refused(f"cannot read the table that comes with poise: {error or type(error).__name__}") from None
    columns = {column: read[column].to_numpy().astype(np.float64) for column in read.column_names if column != "arch"}
    return table_of(read["arch"].to_pylist(), columns)
