"""The table that comes with poise: published values, how it was made, how it is packaged, and who may read it."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from poise.bench.bench_folder import bench_of, open_bench, read_bench
from poise.bench.report import report
from poise.bench.result import Result
from poise.cli.main import app
from poise.errors import Refused
from poise.genotype import Genotype
from poise.truth import shipped
from poise.truth.shipped import shipped_table
from poise.truth.table import Table, open_table

ROOT = Path(__file__).parents[2]
DATA = ROOT / "src/poise/truth/data"
FILE = DATA / "nasbench201.parquet"
FULL = ROOT.parent / "shared/data/nasbench201/table.csv.gz"
needs_full = pytest.mark.skipif(not FULL.exists(), reason="the full table that the shipped one was made from is absent")

SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
NONE = SKIP.replace("skip_connect", "none")
README = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"
LAMBDA = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
MATRIX = "010011001100000111000001000000000000 input,conv1x1-bn-relu,conv3x3-bn-relu,maxpool3x3,conv3x3-bn-relu,output"

TEST = ("c10_test_200", "c100_test_200", "in16_test_200")
VALID = "c10_val_200_mean_nb201"
PARAMS, FLOPS = "c10_params_M", "c10_flops_M"


@pytest.fixture(scope="module")
def table() -> Table:
    return shipped_table("nasbench201")


@pytest.mark.parametrize(
    ("cell", "published"),
    [
        # Dong and Yang 2020, table of results: DARTS ends in six skip connections; the optimum by validation
        (SKIP, {**dict(zip(TEST, (54.30, 15.61, 16.32), strict=True)), VALID: 39.77}),
        (BEST, {"c10_test_200": 94.37, VALID: 91.61}),
        # Movahedi et al. 2023: what Λ-DARTS finds
        (LAMBDA, dict(zip(TEST, (94.36, 73.51, 46.34), strict=True))),
        # the example in the benchmark's own documentation
        (README, {PARAMS: 0.802, FLOPS: 113.95}),
        # no path at all: guessing among 10, 100 and 120 classes
        (NONE, dict(zip(TEST, (100 / 10, 100 / 100, 100 / 120), strict=True))),
    ],
)
def test_published_values(table: Table, cell: str, published: dict[str, float]) -> None:
    found = table.lookup(cell)
    assert {name: found[name] for name in published} == pytest.approx(published, abs=0.0051)


def test_published_optima_and_what_it_holds(table: Table) -> None:
    assert [table.best_value(name) for name in TEST] == pytest.approx([94.37, 73.51, 47.31], abs=0.005)
    assert len(table) == 15_625
    assert list(table.texts) == sorted(set(table.texts)), "every cell once, in the order of their texts"
    assert table.metrics == (*TEST, VALID, "c10_test_12", "c100_test_12", "in16_test_12", PARAMS, FLOPS)
    assert not any(np.isnan(values).any() for values in table.columns.values())
    assert [name for name in table.metrics if table.lower_is_better(name)] == [PARAMS, FLOPS]
    assert set(table.aliases) == {"cifar10", "cifar100", "imagenet16-120", "cifar10-valid", "params", "flops"}
    assert np.corrcoef(table.column("c10_test_12"), table.column("c10_test_200"))[0, 1] > 0.8
    assert FILE.stat().st_size < 250_000


def tool() -> Any:
    spec = importlib.util.spec_from_file_location("nasbench201_table", ROOT / "tools/nasbench201_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@needs_full
def test_it_is_what_the_script_makes_of_the_full_table(tmp_path: Path) -> None:
    made = tool().make(FULL, tmp_path)
    new, old = pq.read_table(made), pq.read_table(FILE)
    assert new.equals(old, check_metadata=True)
    first = made.read_bytes()
    digest = hashlib.sha256(first).hexdigest()
    assert made.with_name("nasbench201.parquet.sha256").read_text() == f"{digest}  nasbench201.parquet\n"
    assert tool().make(FULL, tmp_path).read_bytes() == first, "the same bytes again"
    full, ours = open_table(FULL), shipped_table("nasbench201")
    order = [full.position(text) for text in ours.texts]
    for name in ours.metrics:
        np.testing.assert_allclose(ours.column(name), full.column(name)[order], rtol=1e-6)


def test_the_script_refuses_a_table_that_is_incomplete(tmp_path: Path) -> None:
    (tmp_path / "part.csv").write_text(f"arch,c10_test_200\n{SKIP},54.3\n")
    with pytest.raises(Refused, match="holds 1 cells, expected 15,625"):
        tool().make(tmp_path / "part.csv", tmp_path)
    assert not (tmp_path / "nasbench201.parquet").exists()


def flip(folder: Path) -> None:
    content = bytearray((folder / "data" / FILE.name).read_bytes())
    content[100_000] ^= 1
    (folder / "data" / FILE.name).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "was changed or damaged: .*; install poise again"),
        (lambda folder: (folder / "data" / FILE.name).unlink(), "cannot read the table .*nasbench201.parquet"),
        (lambda folder: (folder / "data" / f"{FILE.name}.sha256").unlink(), "cannot read the table"),
        (lambda folder: (folder / "data" / f"{FILE.name}.sha256").write_text(""), "was changed or damaged"),
    ],
)
def test_a_damaged_table_is_refused(
    damage: Callable[[Path], object], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DATA, tmp_path / "data")
    monkeypatch.setattr(shipped, "files", lambda package: tmp_path)
    assert len(shipped_table("nasbench201")) == 15_625
    damage(tmp_path)
    with pytest.raises(Refused, match=reason):
        shipped_table("nasbench201")


def test_origin_and_licence_go_with_it() -> None:
    text = (DATA / "nasbench201.LICENSE.txt").read_text(encoding="utf-8")
    for part in ("MIT License", "Xuanyi Dong", "The above copyright notice", "2001.00326", "2009.00437", "NATS-Bench"):
        assert part in text
    facts = pq.read_metadata(FILE).metadata
    assert b"MIT" in facts[b"licence"]
    assert b"2001.00326" in facts[b"citation"]
    assert b"github.com/D-X-Y/NATS-Bench" in facts[b"source"]
    assert all(name in text for name in pq.read_schema(FILE).names), "every column is explained"


def test_it_is_packaged(tmp_path: Path) -> None:
    """A wheel's content, built without the network."""
    pytest.importorskip("setuptools")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    words = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_py", "--build-lib", "lib"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = tmp_path / "lib/poise/truth/data"
    assert {file.name: file.read_bytes() for file in built.iterdir()} == {
        file.name: file.read_bytes() for file in DATA.iterdir()
    }


def test_only_what_judges_and_shows_reads_ground_truth() -> None:
    """No engine, method, rule or space, and of the workflow only comparisons and the page of a run that is over."""
    source, readers = ROOT / "src/poise", set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.startswith(("poise.truth", "poise.report.known")) for name in names):
                readers.add(path.relative_to(source).as_posix())
    allowed = ("truth/", "bench/", "report/", "cli/")
    others = {reader for reader in readers if not reader.startswith(allowed)}
    assert others == {"workflow/show.py", "workflow/search.py", "workflow/search_page.py"}


def query(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    app(["bench", "query", *words], standalone_mode=False)
    return " ".join(capsys.readouterr().out.split())


def test_a_query_needs_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    file = tmp_path / "genotype.json"
    file.write_text(Genotype.parse(README).to_json())
    for architecture in (README, str(file), file.read_text()):
        said = query(capsys, architecture)
        assert "c10_test_200 93.66 258 of 15,625 98.3 94.37" in said
        assert re.search(r"equivalent cells, itself (included )?4\b", said)
        assert "holds no latencies" in said
        assert "lat_ms" not in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([MATRIX], "comes with a table of nasbench201 only, not of nasbench1shot1-2; say with --table"),
        ([README, "--lower", "loss"], "--lower is for a table of your own"),
        (["|none~0|"], "NAS-Bench-201"),
    ],
)
def test_a_query_that_needs_another_table_says_so(words: list[str], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        app(["bench", "query", *words], standalone_mode=False)


def with_result(folder: Path, protocol: str, cell: str, **more: Any) -> Path:
    bench = bench_of(
        protocol=protocol, contestants=("largest",), selections=("own",), seeds=(0,), data="digits", **more
    )
    open_bench(folder, bench)
    result = Result("largest", "", 0, Genotype.parse(cell), {"search": 1.0})
    (folder / "results" / result.file_name).write_text(result.to_json())
    return folder


def test_a_report_needs_no_table_and_the_bench_holds_no_path_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_result(tmp_path / "bench", "nb201-small", SKIP)
    assert json.loads((folder / "bench.json").read_text())["table"] is None
    assert str(ROOT) not in (folder / "bench.json").read_text()
    moved = shutil.move(folder, tmp_path / "moved")
    monkeypatch.chdir("/")
    (standing,) = report(Path(moved)).standings
    assert standing.summary.mean == pytest.approx(54.30, abs=0.005)
    assert standing.checks == pytest.approx({"c100_test_200": 15.61, "in16_test_200": 16.32}, abs=0.005)
    assert read_bench(Path(moved)).table is None, "a report writes no path down either"


def test_a_table_of_your_own_still_comes_first(tmp_path: Path) -> None:
    for name, value in (("first", 11), ("second", 22)):
        (tmp_path / f"{name}.csv").write_text(f"arch,{','.join(TEST)}\n{SKIP},{value},1,1\n{NONE},5,1,1\n")
    folder = with_result(tmp_path / "bench", "nb201-small", SKIP, table=tmp_path / "first.csv")
    assert report(folder).standings[0].summary.mean == 11, "the bench's own"
    assert report(folder, tmp_path / "second.csv").standings[0].summary.mean == 22, "the one that is named"


def test_a_space_without_a_shipped_table_says_what_it_needs(tmp_path: Path) -> None:
    folder = with_result(tmp_path / "bench", "1shot1-2-small", MATRIX)
    with pytest.raises(Refused, match="a table of nasbench201 only, not of nasbench1shot1-2; say with --table"):
        report(folder)
