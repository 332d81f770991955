"""One search with many seeds: its folder, its table, and how it goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forked import Forked
from poise import Refused, search_seeds
from poise.cli.main import main
from poise.config.resolve import resolve
from poise.diagnostics.decidedness import Decidedness
from poise.genotype import Genotype
from poise.jobs import process
from poise.jobs.seeds import Found, check_seeds, read_seeds, results, seeds_of

TINY = {
    "search.epochs": 3, "search.images_per_half": 80, "search.batch_size": 20, "space.channels": 2, "space.cells": 1,
}  # fmt: skip
CELL = Genotype("nasbench201", {"cell": {"0->1": ("nor_conv_3x3",), "0->2": ("none",), "1->2": ("nor_conv_3x3",)}})


@pytest.fixture(scope="module", autouse=True)
def forks() -> Iterator[None]:
    """Processes that are started here are forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(**{**vars(process.subprocess), "Popen": Forked}))
        yield


def words(out: Path, seeds: str, *more: str) -> list[str]:
    settings = [word for name, value in TINY.items() for word in ("--set", f"{name}={value}")]
    place = ["--space", "nasbench201", "--method", "darts", "--device", "cpu", "--out", str(out)]
    return ["search", "--data", "digits", *place, *settings, "--seeds", seeds, *more]


def poise(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_seeds_are_searched_shown_added_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "out"
    code, said, err = poise(words(out, "0-1", "--jobs", "2"), capsys)
    assert code == 0, err
    assert "done after" in said
    first = results(out)
    assert {each.seed for each in first} == {0, 1}
    assert first[0].value >= first[1].value
    assert f"best by validation: seed {first[0].seed}; next: poise train {out / f'seed-{first[0].seed}'}" in said
    last = json.loads((out / "seed-1" / "history.jsonl").read_text().splitlines()[-1])
    assert {each.seed: each.value for each in first}[1] == last["search_accuracy"]
    alone = tmp_path / "alone"
    code, _, err = poise([*words(alone, "")[:-2], "--seed", "1"], capsys)
    assert code == 0, err
    names = ("genotype.json", "alphas.safetensors", "supernet.safetensors")
    for name in names:
        assert (out / "seed-1" / name).read_bytes() == (alone / name).read_bytes(), "as the search of that seed alone"

    before = {name: (out / "seed-1" / name).stat().st_mtime_ns for name in names}
    code, said, err = poise(words(out, "1,2"), capsys)
    assert code == 0, err
    assert read_seeds(out)[0].seeds == (0, 1, 2)
    assert {each.seed for each in results(out)} == {0, 1, 2}
    assert said.count("done after") == 1
    assert before == {name: (out / "seed-1" / name).stat().st_mtime_ns for name in names}, "what is done is kept"

    code, said, err = poise(["resume", str(out)], capsys)
    assert code == 0, err
    assert "done after" not in said
    assert "best by validation" in said

    code, _, err = poise(words(out, "0", "--set", "search.epochs=4"), capsys)
    assert (code, err) == (
        2, f"poise: {out} holds searches with other settings, see {out}/config.yaml; choose another folder\n",
    )  # fmt: skip


def test_from_python_and_one_that_fails(tmp_path: Path) -> None:
    """The second seed's folder holds a file that no run put there."""
    (tmp_path / "out").mkdir()
    settings: dict[str, Any] = TINY | {"search.epochs": 1}
    given = {"space": "nasbench201", "method": "darts", "settings": settings, "device": "cpu"}
    (found,) = search_seeds("digits", [3], tmp_path / "out", **given)
    assert (found.seed, found.metric, found.decided) == (3, "accuracy", "–")
    (tmp_path / "out" / "seed-4").mkdir()
    (tmp_path / "out" / "seed-4" / "thesis.tex").touch()
    with pytest.raises(Refused, match=r"darts, seed 4 failed: poise: .*seed-4"):
        search_seeds("digits", [3, 4], tmp_path / "out", **given)


def test_the_best_is_best_by_the_metric_that_counts() -> None:
    def found(seed: int, value: float, higher: bool) -> Found:
        return Found(seed, Path(), CELL, "metric", value, higher, Decidedness((), 0, "no"))

    for higher, best in ((True, [2, 1, 3]), (False, [1, 2, 3])):
        each = [found(1, 0.25, higher), found(2, 0.5, higher), found(3, float("nan"), higher)]
        assert [one.seed for one in sorted(each, key=lambda one: one.rank)] == best
    assert each[0].operations == "2 nor_conv_3x3, 1 none"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seeds", "0-1", "--seed", "3"], "--seed does not go with --seeds"),
        (["--seeds", "0-1", "--overwrite"], "--overwrite does not go with --seeds"),
        (["--seeds", "0-1", "--auto-batch"], "--auto-batch does not go with --seeds"),
        (["--seeds", "a"], "seeds are numbers"),
        (["--seeds", "1,1"], "seeds differ from each other"),
        (["--seeds", "0", "--on", "rai"], "unknown executor 'rai'; did you mean 'ray'"),
        (["--seeds", "0", "--memory", "8G"], "memory is shared out by ray and slurm"),
        (["--seeds", "0", "--on", "ray", "--memory", "much"], "--memory takes bytes with k, M or G"),
        (["--on", "ray"], "--on, --jobs, --cpus and --memory are for many runs: pass --seeds, too"),
        (["--jobs", "2"], "pass --seeds, too"),
    ],
)
def test_what_does_not_go_together_is_refused(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = poise(["search", "--preset", "demo", "--out", str(tmp_path / "out"), *more], capsys)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_folders_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    settings = resolve(space="nasbench201", preset="demo", data="digits")
    with pytest.raises(Refused, match="holds something else than searches with many seeds"):
        check_seeds(settings, tmp_path)
    with pytest.raises(Refused, match="there is one at least"):
        seeds_of(seeds=())
    (tmp_path / "seeds.json").write_text('{"format": "poise.seeds", "version": 2}')
    with pytest.raises(Refused, match="is not one that this poise can read"):
        read_seeds(tmp_path)
