"""NAS-Bench-101's cells as ground truth: a table from a TFRecord, asked by hash, cell and genotype; and judging."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_importing101 import training

from poise.bench.contestants.searching import random_genotype
from poise.bench.job import Job, contestant
from poise.bench.judge import standings
from poise.bench.protocol import PROTOCOLS
from poise.cli.main import main
from poise.engine.checkpointer import RunControl
from poise.engine.events import ignore
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces.nasbench1shot1 import NasBench1Shot1Space1, NasBench1Shot1Space2
from poise.spaces.nasbench101 import OPERATIONS, Cell
from poise.spaces.space import genotype_of
from poise.supernet.groups import Kept
from poise.truth.importing101 import import_nasbench101
from poise.truth.table import Table, open_table

C3, C1, MP = OPERATIONS
SPACE = NasBench1Shot1Space1()

# Block 3 leads nowhere: 0 -> 1, {0, 1} -> 2, {1, 2} -> 4, {2, 4} -> output; without it 4 is 3 and the output 4.
LOOSE = Cell(frozenset({(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (1, 4), (2, 4), (2, 5), (4, 5)}), (C3, C1, MP, C3))
PRUNED = ("0110000110000110000100000", f"input,{C3},{C1},{C3},output")
OTHER = Cell(frozenset({(0, 1), (0, 2), (1, 2), (0, 3), (2, 3), (0, 4), (3, 4), (1, 5), (4, 5)}), (MP, C1, MP, C3))
OUTSIDE = ("010001000", f"input,{C3},output")
"""A cell of no space: a single vertex."""


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three cells: one of space 1 as the benchmark has it, another one, and the best, which no space holds."""
    other = OTHER.pruned
    assert other is not None
    matrix, _, labels = other.text.partition(" ")
    (tmp_path / "only108.bin").write_bytes(
        training(PRUNED, (100.0, 1.0, 0.92, 0.91))
        + training((matrix, labels), (50.0, 0.9, 0.85, 0.86))
        + training(OUTSIDE, (50.0, 0.9, 0.93, 0.94))
        + training(PRUNED, (300.0, 1.0, 0.94, 0.93))
    )
    assert import_nasbench101(tmp_path / "only108.bin", tmp_path / "table.csv.gz") == 3
    return tmp_path / "table.csv.gz"


def test_asked_by_genotype_cell_and_hash(table: Path) -> None:
    truth = open_table(table)
    genotype = SPACE.genotype(LOOSE)
    name = Cell.of_matrix(*PRUNED).hash
    for architecture in (genotype, genotype.to_json(), LOOSE.text, " ".join(PRUNED), name):
        assert dict(truth.lookup(architecture)) == pytest.approx(
            {"test": 92, "validation": 93, "train": 100, "seconds": 200, "params_M": 1}
        )
        assert truth.rank(architecture, "cifar10") == 2
        assert truth.regret(architecture, "test") == pytest.approx(2)
        assert truth.percentile(architecture, "test") == pytest.approx(100 / 3)
    assert truth.lookup(" ".join(OUTSIDE))["test"] == pytest.approx(94)
    assert truth.best_value("test") == pytest.approx(94)
    assert truth.best_value("seconds") == 50
    assert truth.best_value("params") == 1
    assert [truth.lower_is_better(metric) for metric in ("test", "seconds", "params_M")] == [False, True, True]


def test_of_one_space(table: Path) -> None:
    truth = open_table(table).of("nasbench1shot1-1")
    assert len(truth) == 2
    genotype = SPACE.genotype(LOOSE)
    assert (truth.rank(genotype, "test"), truth.regret(genotype, "test")) == (1, 0)
    best = truth.best("test")
    assert best.value == pytest.approx(92)
    assert SPACE.cell(best.genotype).hash == SPACE.cell(genotype).hash
    assert sorted(SPACE.cell(each).hash for each in truth) == sorted((LOOSE.hash, OTHER.hash))
    assert truth.of("nasbench1shot1-1") is truth
    with pytest.raises(Refused, match="table is of space nasbench1shot1-1, not of 'nasbench1shot1-2'"):
        truth.of("nasbench1shot1-2")


def test_what_the_table_does_not_hold_is_refused(table: Path) -> None:
    truth = open_table(table)
    none = NasBench1Shot1Space2()
    kept: Kept = {g.name: tuple(tuple(range(g.min_kept)) for _ in g.rows) for g in none.groups}
    absent = genotype_of(none.name, kept, none.groups)
    with pytest.raises(Refused, match=r"no measurement of .* 3 architectures"):
        truth.lookup(absent)
    with pytest.raises(Refused, match="of space nasbench1shot1-1, nasbench1shot1-2, nasbench1shot1-3, not of 'darts'"):
        truth.of("darts")
    with pytest.raises(Refused, match="none of the table's 3 architectures is one of 'nasbench1shot1-2'"):
        truth.of("nasbench1shot1-2")
    with pytest.raises(Refused, match="known by its hash alone"):
        truth.best("test")
    with pytest.raises(Refused, match="belongs to space 'nasbench201', expected"):
        truth.lookup("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    with pytest.raises(Refused, match="belongs to space 'nasbench201', expected"):
        truth.lookup(Genotype.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"))
    with pytest.raises(Refused, match="not a cell of NAS-Bench-101"):
        truth.lookup("0100 input,outputs")


def test_wrong_tables_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"hash,adjacency,operations,test\nABC,{OUTSIDE[0]},x,1\n")
    with pytest.raises(Refused, match="line 2: not a hash of NAS-Bench-101"):
        open_table(path)


def test_what_cannot_be_imported_is_refused(table: Path, tmp_path: Path) -> None:
    source = table.with_name("only108.bin")
    for wrong, reason in ((table, "not a TFRecord file"), (tmp_path, "cannot read"), (tmp_path / "no", "cannot read")):
        with pytest.raises(Refused, match=reason):
            import_nasbench101(wrong, tmp_path / "out.csv")
    with pytest.raises(Refused, match="no such folder"):
        import_nasbench101(source, tmp_path / "absent" / "out.csv")
    with pytest.raises(Refused, match="exists already"):
        import_nasbench101(source, table)


def test_on_the_command_line(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = str(table.with_name("only108.bin")), str(tmp_path / "again.csv")
    with pytest.raises(SystemExit) as code:
        main(["bench", "import", source, "--out", out])
    assert code.value.code in (0, None)
    assert "wrote 3 architectures" in " ".join(capsys.readouterr().out.split())
    genotype = tmp_path / "genotype.json"
    genotype.write_text(SPACE.genotype(LOOSE).to_json())
    for architecture in (str(genotype), genotype.read_text(), LOOSE.text, " ".join(PRUNED), LOOSE.hash):
        with pytest.raises(SystemExit):
            main(["bench", "query", architecture, "--table", out])
        said = capsys.readouterr().out
        assert "92.00" in said, architecture
        assert "2 of 3" in said


# --- the anytime curve

WORTH = {MP: 1.0, C1: 3.0, C3: 9.0}


def worth(cell: Cell) -> float:
    """Made up, so that isomorphic cells agree: operations and edges of the pruned cell."""
    pruned = cell.pruned
    assert pruned is not None
    return 50 + sum(WORTH[name] for name in pruned.operations) + 0.1 * len(pruned.edges)


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """All of space 1, and a better cell that is not of it."""
    values = {cell.hash: worth(cell) for cell in SPACE.cells_of_benchmark()}
    values[Cell.of_matrix(*OUTSIDE).hash] = 99.0
    path = tmp_path_factory.mktemp("table") / "table.csv"
    rows = [f"{name},0100,x,{value:.4f},{value / 2:.4f}" for name, value in values.items()]
    path.write_text("\n".join(["hash,adjacency,operations,test,validation", *rows]) + "\n")
    return open_table(path)


def test_a_search_is_judged_after_every_epoch(truth: Table, tmp_path: Path) -> None:
    protocol = replace(
        PROTOCOLS["1shot1-1-small"],
        preset="demo",
        settings={"search.epochs": 3, "search.images_per_half": 40, "search.batch_size": 20, "space.channels": 3,
                  "search.alphas.learning_rate": 0.5},
        ranked_cells=4,
        ranked_batches=1,
    )  # fmt: skip
    job = Job(protocol, "darts", 0, ("magnitude",), "digits", "cpu", "32", tmp_path / "darts")
    results = contestant("darts").run(job, ignore, RunControl())
    found = {standing.label: standing.runs[0] for standing in standings(results, truth.of(protocol.space), protocol)}
    assert set(found) == {"darts / magnitude"}
    history = RunFolder(tmp_path / "darts" / "search").history()
    expected = [worth(SPACE.cell(by_hand(record["alphas"]))) for record in history]
    run = found["darts / magnitude"]
    assert len(set(expected)) > 1, "the curve moves"
    assert run.curve == pytest.approx(expected, abs=1e-3)
    assert run.value == pytest.approx(expected[-1], abs=1e-3)
    best = max(worth(cell) for cell in SPACE.cells_of_benchmark())
    assert best < 99
    assert run.regret == pytest.approx(best - run.value, abs=1e-3), "among the cells of the space"
    assert run.checks["validation"] == pytest.approx(run.value / 2, abs=1e-3)


def by_hand(alphas: Mapping[str, list[list[float]]]) -> Genotype:
    """The largest alpha of every operation's row, and the largest so many of every row of inputs."""
    kept = {}
    for group in SPACE.groups:
        rows = [
            sorted(np.argsort([-value for value in row], kind="stable")[: group.min_kept]) for row in alphas[group.name]
        ]
        kept[group.name] = tuple(tuple(map(int, row)) for row in rows)
    return genotype_of(SPACE.name, kept, SPACE.groups)


def test_random_architectures_are_uniform() -> None:
    """Over operations and inputs: every pair of vertices that the output reads comes up as often."""
    generator = torch.Generator().manual_seed(0)
    drawn = [random_genotype(SPACE.name, SPACE.groups, generator) for _ in range(3000)]
    counts: dict[tuple[str, ...], int] = {}
    for genotype in drawn:
        pair = genotype.choices["output"]["vertices"]
        counts[pair] = counts.get(pair, 0) + 1
    assert len(counts) == 10
    assert all(abs(count - 300) < 4 * (300 * 0.9) ** 0.5 for count in counts.values())
