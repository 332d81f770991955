"""``-q``, ``-v``, narrow terminals, terminals without colours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from conftest import TINY, TINY_TRAIN, Poise
from poise.report.progress import epoch_line
from poise.report.tables import Columns, history_table, result_rows

RECORD: dict[str, Any] = {
    "epoch": 49, "train_loss": 1.2345, "train_accuracy": 0.4712, "search_loss": 1.3862, "search_accuracy": 0.9987,
    "skip_share": 0.125, "alignment": {"train": -0.041}, "expected_cost": {"macs": 1.5e6}, "seconds": 1234.5,
    "learning_rate": 0.025,
}  # fmt: skip


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (None, "search epoch 50 | train loss 1.234 accuracy 47.1% | search loss 1.386 accuracy 99.9% | alignment -0.04"
               " | skips 12% | expected macs 1.5M | 1234.5 s, 3 min left"),
        (150, "search epoch 50 | train loss 1.234 accuracy 47.1% | search loss 1.386 accuracy 99.9% | alignment -0.04"
              " | skips 12% | 1234.5 s, 3 min left"),
        (115, "search epoch 50 | train loss 1.234 accuracy 47.1% | search loss 1.386 accuracy 99.9%"
              " | 1234.5 s, 3 min left"),
        (90, "search epoch 50 | train accuracy 47.1% | search accuracy 99.9% | 1234.5 s, 3 min left"),
        (70, "search epoch 50 | search accuracy 99.9% | 1234.5 s, 3 min left"),
        (50, "search epoch 50 | 1234.5 s, 3 min left"),
        (10, "search epoch 50 | 1234.5 s, 3 min left"),
    ],
)  # fmt: skip
def test_an_epochs_line_fits(width: int | None, line: str) -> None:
    assert epoch_line("search", RECORD, width, "3 min") == line


def test_a_loss_that_is_all_there_is_stays() -> None:
    record = {"epoch": 0, "train_loss": 0.5, "search_loss": 0.25, "seconds": 1.0}
    assert epoch_line("search", record, 45) == "search epoch 1 | search loss 0.250 | 1.0 s"


def lines(table: Columns, width: int) -> list[str]:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    return console.export_text().splitlines()


def test_a_table_leaves_out_columns_never_parts_of_numbers() -> None:
    table = history_table([RECORD])
    for width in range(24, 140):
        shown = lines(table, width)
        assert max(map(len, shown)) <= width
        assert "…" not in "".join(shown), width
        assert set(shown[-2].split()) <= {*table.rows[0]}
    assert lines(table, 139)[-2].split() == [*table.rows[0]]
    assert lines(table, 24)[-2].split() == ["50", "99.87%"], "what counts is left out last"


def test_many_classes_are_one_line() -> None:
    result = {"parameters": 1_234_567, "test_accuracy": 0.5, **{f"test_accuracy/{name}": 0.5 for name in range(11)}}
    few = result_rows(result, each=False)
    assert few == [
        ("parameters", "1,234,567"), ("test accuracy", "50.00%"), ("of single classes", "11 more numbers, with -v"),
    ]  # fmt: skip
    assert len(result_rows(result)) == 13
    del result["test_accuracy/10"]
    assert len(result_rows(result, each=False)) == 12


def test_quiet_and_verbose(poise: Poise) -> None:
    usual = poise("search", *TINY, "--out=a")
    quiet = poise("search", *TINY, "--out=b", "-q")
    verbose = poise("search", *TINY, "--out=c", "--verbose")
    assert "search epoch 1" in usual.out
    assert "page a/report.html" in usual.out.splitlines()
    assert "  –" not in usual.out, "edges that are not taken"
    assert usual.out.splitlines()[-1] == "saved in a; next: poise train a"
    said = [line for line in quiet.out.splitlines() if not line.startswith("note: ")]
    assert said == ["saved in b; next: poise train b"]
    assert "search epoch 1" in verbose.out
    assert "  –" in verbose.out
    assert "see c/figures/cells.svg" in verbose.out.splitlines()
    assert " rate " in verbose.out, "the table of epochs"
    trained = poise("train", "a", *TINY_TRAIN, "-q")
    assert trained.out.splitlines()[-1].startswith("saved in a/net; next: ")
    assert len(trained.out.splitlines()) <= 2
    assert "train epoch" not in poise("show", "a/net", "-q").out
    both = poise("show", "a", "-q", "-v")
    assert (both.code, both.err) == (2, "poise: -q and -v do not go together\n")
    assert "–" not in poise("show", "a").out
    assert "–" in poise("show", "a", "-v").out, "what was said before holds for one command alone"


def test_lists_are_short_unless_asked(poise: Poise) -> None:
    short, long = poise("list", "methods").out, poise("list", "methods", "--long").out
    assert "arXiv" not in short
    assert long.count("arXiv:") >= 14
    assert poise("list", "spaces").out == poise("list", "spaces", "--long").out


def test_doctor(poise: Poise, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    well = poise("doctor")
    assert (well.code, well.err) == (0, "")
    assert re.search(r"^poise +\d+\.\d+\.\d+$", well.out, re.MULTILINE)
    assert re.search(r"^torch +2\.", well.out, re.MULTILINE)
    assert "OMP_NUM_THREADS=1" in well.out
    assert re.search(r"^search and training on cpu: works \(\d+\.\d s\)$", well.out, re.MULTILINE)
    assert well.out.endswith("all is well\n")
    assert str(Path.home()) not in well.out
    assert not list(tmp_path.iterdir()), "nothing is left behind"

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr("poise.workflow.retrain.train", broken)
    ill = poise("doctor")
    assert ill.code == 1
    assert "search and training on cpu: RuntimeError: no kernel image is available (" in ill.out
    assert ill.err == "poise: 1 of the checks failed; please report it with all of this\n"
