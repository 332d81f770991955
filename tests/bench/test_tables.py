"""Tables: what they answer, worked by hand and on the real one; and what they refuse, by line."""

from __future__ import annotations

import gzip
import json
import math
import resource
import sys
from pathlib import Path

import numpy as np
import pytest

from poise.errors import Refused
from poise.genotype import Genotype
from poise.truth.ground_truth import GroundTruth
from poise.truth.table import TABLES, Table, open_table
from poise.truth.tables import csv_text

TABLE = Path(__file__).parents[3] / "shared/data/nasbench201/table.csv.gz"
needs_table = pytest.mark.skipif(not TABLE.exists(), reason="the NAS-Bench-201 table is not on this machine")

SKIP = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
NONE = SKIP.replace("skip_connect", "none")
POOL = SKIP.replace("skip_connect", "avg_pool_3x3")
CONV = SKIP.replace("skip_connect", "nor_conv_3x3")
ONE = NONE.replace("none~2", "skip_connect~2")

SMALL = f"""index,arch,c10_test_200,c10_params_M,lat_ms_fpga
0,{SKIP},50.0,0.1,3
1,{NONE},10,0.1,
7,{POOL},50.0,0.2,1
9,{CONV},90.5,1.5,2
"""


def write(folder: Path, text: str | bytes, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def small(tmp_path: Path) -> Table:
    return open_table(write(tmp_path, SMALL))


def test_small_table_by_hand(small: Table) -> None:
    skip, none, pool, conv = small
    assert isinstance(small, GroundTruth)
    assert (small.space, small.metrics) == ("nasbench201", ("c10_test_200", "c10_params_M", "lat_ms_fpga"))
    assert [small.rank(g, "cifar10") for g in (skip, none, pool, conv)] == [2, 4, 2, 1], "equals share the best rank"
    assert [small.percentile(g, "cifar10") for g in (skip, none, pool, conv)] == [25, 0, 25, 75]
    assert [small.regret(g, "cifar10") for g in (skip, conv)] == [40.5, 0.0]
    assert small.best("cifar10") == (3, conv, 90.5)
    assert small.quantile("cifar10", 0.5) == 50.0
    assert small.quantile("cifar10", 1.0) == 90.5
    assert small.quantile("c10_test_200", 0.75) == pytest.approx(50 + 0.25 * 40.5)
    assert small.genotype(3) == conv
    assert small.lookup(CONV)["cifar10"] == 90.5
    assert dict(small.lookup(conv)) == {"c10_test_200": 90.5, "c10_params_M": 1.5, "lat_ms_fpga": 2.0}


def test_of_costs_the_smaller_is_the_better(small: Table) -> None:
    skip, none, pool, conv = small
    assert [small.rank(g, "params") for g in (skip, none, pool, conv)] == [1, 1, 3, 4]
    assert [small.percentile(g, "params") for g in (skip, pool, conv)] == [50, 25, 0]
    assert small.best("params") == (0, skip, 0.1)
    assert small.regret(conv, "params") == pytest.approx(1.4)
    assert small.quantile("params", 1.0) == 0.1
    assert small.quantile("params", 0.0) == 1.5


def test_what_was_not_measured_takes_no_part(small: Table) -> None:
    skip, none, pool, _ = small
    assert small.rank(skip, "lat_ms_fpga") == 3
    assert small.percentile(pool, "lat_ms_fpga") == pytest.approx(200 / 3)
    assert small.best("lat_ms_fpga").genotype == pool
    found = small.lookup(none)
    assert set(found) == {"c10_test_200", "c10_params_M"}
    assert "lat_ms_fpga" not in found
    for ask in (lambda: found["lat_ms_fpga"], lambda: small.rank(none, "lat_ms_fpga")):
        with pytest.raises(Refused, match="lat_ms_fpga was not measured for"):
            ask()


def test_a_table_cannot_be_changed(small: Table) -> None:
    with pytest.raises(ValueError, match="read-only"):
        small.column("cifar10")[0] = 99
    with pytest.raises(TypeError):
        small.columns["more"] = np.zeros(4)  # type: ignore[index]
    with pytest.raises(AttributeError):
        small.space = "darts"  # type: ignore[misc]


def test_wrong_questions_are_refused(small: Table) -> None:
    with pytest.raises(Refused, match="unknown metric 'cifar1'; did you mean 'cifar10'"):
        small.rank(small.genotype(0), "cifar1")
    with pytest.raises(Refused, match=r"no measurement of \|none~0\|.*holds 4 architectures"):
        small.lookup(ONE)
    with pytest.raises(Refused, match="belongs to space 'darts'"):
        small.lookup(Genotype("darts", {"normal": {}, "reduce": {}}))
    with pytest.raises(Refused, match="did you mean 'avg_pool_3x3'"):
        small.lookup(POOL.replace("avg_pool_3x3~2", "avg_pool_3~2"))
    with pytest.raises(Refused, match="between 0 and 1"):
        small.quantile("cifar10", 1.5)
    with pytest.raises(Refused, match="position 4"):
        small.genotype(4)
    assert small.equivalents(Genotype.parse(ONE)) == (1,), "an isolated path is as good as none"
    assert small.equivalents(Genotype.parse(ONE.replace("none~0|+|none~0", "skip_connect~0|+|none~0", 1))) == (1,)


DARTS = """Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2,3,4,5],
reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2,3,4,5])"""


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def test_own_measurements(tmp_path: Path) -> None:
    first = Genotype.parse(SKIP)
    text = f"accuracy,genotype,loss\n50,{quoted(first.to_json())},1.5\n60.5,{CONV},0.5\n"
    for packed in (text.encode(), gzip.compress(text.encode()), b"\xef\xbb\xbf" + text.encode()):
        table = open_table(write(tmp_path, packed, "own"), lower=["loss"])
        assert (table.space, table.metrics, len(table)) == ("nasbench201", ("accuracy", "loss"), 2)
        assert table.lookup(first)["loss"] == 1.5
        assert table.best("loss").genotype == Genotype.parse(CONV)
        assert table.rank(first, "accuracy") == 2
        assert table.lookup(CONV)["accuracy"] == 60.5
    assert table.equivalents(first) == (0,)


def test_own_measurements_of_another_space(tmp_path: Path) -> None:
    other = DARTS.replace("sep_conv_3x3", "dil_conv_5x5")
    table = open_table(write(tmp_path, f"genotype,top1\n{quoted(DARTS)},97\n{quoted(other)},96\n"))
    assert table.space == "darts"
    assert table.rank(Genotype.parse(other), "top1") == 2
    with pytest.raises(Refused, match="known for space 'nasbench201' only"):
        table.equivalents(Genotype.parse(other))


def line(text: str) -> str:
    return "arch,c10_test_200\n" + text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (line(f"{SKIP},1\n{NONE},2\n{SKIP},3\n"), r"line 4: .* stands in line 2 already"),
        (line(f"{SKIP.replace('skip_connect~2', 'skip_conect~2')},1\n"), "line 2: .*did you mean 'skip_connect'"),
        (line(f"{SKIP[:-1]},1\n"), "line 2: not a NAS-Bench-201 string"),
        (line(f"{SKIP},1\n{NONE},nan\n"), "line 3: c10_test_200 is not finite: nan"),
        (line(f"{SKIP},inf\n"), "line 2: c10_test_200 is not finite: inf"),
        (line(f"{SKIP},1e999\n"), "line 2: c10_test_200 is not finite"),
        (line(f"{SKIP},high\n"), "line 2: c10_test_200 must be a number, got 'high'"),
        (line(f"{SKIP},1,2\n"), "line 2: 3 cells, expected 2"),
        (line(f"{SKIP}\n"), "line 2: 1 cells, expected 2"),
        (line(""), "at least one architecture"),
        (f"arch\n{SKIP}\n", "at least one architecture and one metric"),
        (f"arch,a,a\n{SKIP},1,2\n", "line 1: the column 'a' stands twice"),
        (f"arch,a,\n{SKIP},1,2\n", "line 1: the column '' has no name"),
        (line(f'"{SKIP},1\n'), "not a CSV file|line 2"),
        (line(f"{SKIP},1\n").encode() + b"\xff\xfe,2\n", "not UTF-8"),
        (line(f"{SKIP},1\n") + "x" * 200_000 + ",1\n", "not a CSV file: field larger"),
        ("genotype,a\nGenotype(),1\n", r"line 2: a Genotype\(\.\.\.\) text"),
        ("genotype,a\n", "holds no architecture"),
        (f"genotype,a\n{SKIP},1\n{quoted(DARTS)},2\n", "line 4: the genotype belongs to space 'darts'"),
        (f"genotype,a\n{SKIP},1\n{SKIP},2\n", "line 3: .*stands in line 2 already"),
        (f"genotype,a\n{SKIP.replace('skip_connect~2', 'sep_conv_3x3~2')},1\n", "line 2: unknown operation"),
        (
            "genotype,a\n" + quoted(json.dumps(Genotype("mine", {}).to_dict())) + ",1\n",
            "line 2: unknown space 'mine'",
        ),
        ("a,b\n1,2\n", "no table that poise knows, expected .*the compact NAS-Bench-201 CSV .*; or a CSV"),
        ("", "no table that poise knows"),
        (gzip.compress(line(f"{SKIP},1\n" * 1000).encode())[:-20], "cannot read|stands in line 2"),
        (b"\x1f\x8b" + b"\0" * 50, "cannot read"),
        (b"\0" * 50, "no table that poise knows"),
    ],
)
def test_wrong_files_are_refused_by_line(tmp_path: Path, text: str | bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refusal:
        open_table(write(tmp_path, text))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 700


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "is not a file"), (tmp_path / "absent.csv", "no such file")):
        with pytest.raises(Refused, match=reason):
            open_table(path)
    with pytest.raises(Refused, match="unknown metric 'los'"):
        open_table(write(tmp_path, SMALL), lower=["los"])


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_text, "MOST_BYTES", 100_000)
    path = write(tmp_path, gzip.compress(line(f"{SKIP},1\n" + "\n" * 10_000_000).encode()))
    assert path.stat().st_size < 50_000
    with pytest.raises(Refused, match="more than 100,000 bytes once unpacked"):
        open_table(path)


def test_kinds_are_found_by_themselves() -> None:
    assert list(TABLES) == ["nasbench101", "nasbench201", "own"]


@needs_table
def test_the_real_table_holds_what_is_known_of_it() -> None:
    table = open_table(TABLE)
    assert len(table) == 15_625
    assert table.quantile("cifar10", 0.5) == pytest.approx(90.75, abs=0.01)
    assert table.quantile("cifar10", 0.99) == pytest.approx(93.78, abs=0.01)
    assert table.best("cifar10").value == pytest.approx(94.37, abs=0.005)
    skips = Genotype.parse(SKIP)
    found = table.lookup(skips)
    assert found["cifar10"] == pytest.approx(54.30, abs=0.005)
    assert found["cifar100"] == pytest.approx(15.61, abs=0.005)
    best = table.best("cifar10").genotype
    assert table.rank(best, "cifar10") == 1
    assert table.regret(best, "cifar10") == 0
    assert table.percentile(best, "cifar10") == pytest.approx(100 * 15_623 / 15_625), "two share the best value"
    assert table.regret(skips, "cifar10") == pytest.approx(94.37 - 54.30, abs=0.01)
    assert len({table.position(genotype) for genotype in table}) == 15_625
    assert math.isclose(float(table.column("params").min()), table.best("params").value)


@needs_table
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units elsewhere")
def test_the_real_table_takes_little() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    open_table(TABLE)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 300
