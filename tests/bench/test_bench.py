"""The bench as a person runs it: processes, kills, failures, and contestants whose place is known beforehand."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bench_support import BEST, WORST, poise, start, write_plugin, write_table

from forked import Forked
from full import full_only
from poise.bench.bench_folder import bench_of, check_bench, missing, open_bench, read_bench
from poise.bench.contestants.searching import MethodContestant
from poise.bench.job import CONTESTANTS
from poise.bench.report import report
from poise.bench.result import Result, compact
from poise.bench.runner import job_of
from poise.cli.main import app, main
from poise.errors import Refused
from poise.genotype import Genotype
from poise.jobs import process
from poise.jobs.placing import threads_each


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the planted contestants, which are known in this process too; its forks start their jobs as
    forks."""
    folder = write_plugin(tmp_path_factory.mktemp("plugin"))
    known = set(CONTESTANTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": Forked}))
        runpy.run_path(str(folder / "planted.py"))
        yield folder
    for name in set(CONTESTANTS) - known:
        del CONTESTANTS._items[name]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("table") / "table.csv.gz")


def running(out: Path, methods: str, *more: str) -> list[str]:
    words = ["bench", "run", "--protocol", "smoke", "--data", "digits", "--device", "cpu", "--methods", methods]
    return [*words, "--out", str(out), *more]


def results(out: Path) -> dict[str, Any]:
    """Every result, seconds aside."""
    found = {}
    for path in sorted((out / "results").iterdir()):
        value = json.loads(path.read_text())
        for step in [value, *value["epochs"], *value["trace"]]:
            step.pop("seconds")
        found[path.name] = value
    return found


def test_planted_contestants_come_out_first_and_last(plugin: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    words = running(out, "worst,darts,optimum,random", "--seeds", "0-2", "--jobs", "2", "--table", str(table))
    code, said, err = poise(plugin, *words)
    assert code == 0, err
    assert "12 of 12 runs are done" in said
    code, said, err = poise(plugin, "bench", "report", str(out))
    assert code == 0, err
    found = json.loads((out / "report.json").read_text())["standings"]
    assert [found[0]["contestant"], found[-1]["contestant"]] == ["optimum", "worst"]
    assert {row["contestant"] for row in found} == {"optimum", "worst", "darts", "random"}
    best, worst = found[0], found[-1]
    assert best["mean"] == best["worst"] == pytest.approx(10 + 9 * 6.15)
    assert worst["mean"] == worst["best"] == pytest.approx(10)
    assert best["runs"][0]["regret"] == pytest.approx(0, abs=1e-9)
    assert worst["runs"][0]["regret"] == pytest.approx(9 * 6.15)
    assert best["p_chance"] < 1e-3 < 0.999 < worst["p_chance"]
    assert best["p_random"][0] == pytest.approx(1 / 20), "all three above all three: 1 of C(6, 3) ways"
    assert best["p_darts"] is None, "darts was judged with another rule than the planted one"
    assert "optimum" in said
    assert (out / "figures" / "anytime.svg").is_file()
    assert "| optimum |" in (out / "report.md").read_text()
    darts = next(row for row in found if row["contestant"] == "darts")
    assert all(len(run["curve"]) == 2 for run in darts["runs"])
    assert all(run["curve"][-1] == run["value"] for run in darts["runs"]), "the last epoch is what magnitude takes"


@full_only  # in short, jobs that are lost go on in tests/jobs
def test_killed_and_resumed(plugin: Path, tmp_path: Path) -> None:
    more = ["--seeds", "0-1", "--selections", "magnitude,perturbation", "--jobs", "2"]
    code, _, err = poise(plugin, *running(tmp_path / "whole", "lambda-darts,random", *more))
    assert code == 0, err
    killed = tmp_path / "killed"
    words = running(killed, "lambda-darts,random", *more)
    for wait in (0.2, 1.5, 3.0):
        process = start(plugin, *words)
        end = time.monotonic() + 120
        while time.monotonic() < end and not any(killed.glob("runs/*/*/search/run.json")) and process.poll() is None:
            time.sleep(0.05)
        time.sleep(wait)
        process.kill()
        process.communicate()
        words = ["resume", str(killed)]
    code, _, err = poise(plugin, *words)
    assert code == 0, err
    assert results(killed) == results(tmp_path / "whole")


def test_stopped_by_a_signal(plugin: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    process = start(plugin, *running(out, "darts", "--seeds", "0-3"), program=True)
    while not any(out.glob("runs/*/*/search/run.json")) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 75, err
    assert err.splitlines() == [f"poise: stopped; saved; to go on: poise resume {out}"]
    assert len(results(out)) < 4


def test_an_installed_package_adds_contestants(plugin: Path, tmp_path: Path) -> None:
    code, _, err = poise(plugin, *running(tmp_path / "bench", "optimun"), program=True)
    assert code == 2
    assert "did you mean 'optimum'?" in err


def test_one_failure_stops_no_other(plugin: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "bench"
    code, said, err = poise(plugin, *running(out, "broken,optimum", "--seeds", "0-1"))
    assert code == 2
    assert "2 runs failed" in err.splitlines()[-1]
    assert "failed: broken, seed 1: RuntimeError: planted to fail" in said
    assert sorted(results(out)) == ["optimum--own--seed-0.json", "optimum--own--seed-1.json"]
    code, said, _ = poise(plugin, *running(out, "optimum", "--seeds", "0-2"))
    assert code == 0
    assert "3 of 3" in said, "a seed was added, and what failed is not tried by a command that does not ask for it"
    code, said, _ = poise(plugin, "bench", "report", str(out), "--table", str(table))
    assert code == 0
    assert "2 results are missing" in said, "but it is still known"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "dart"], "unknown method 'dart'; did you mean 'darts'?"),
        (["--methods", "darts:alignment.strenth=1"], "unknown setting"),
        (["--methods", "darts:search.diagnostics=[eigenvalue, eigen],fair-darts"], "unknown diagnostic 'eigen'"),
        (["--methods", "random:search.epochs=3"], "random takes no settings"),
        (["--methods", "darts,darts"], "the contestants of a bench differ"),
        (["--selections", "magnitud"], "did you mean 'magnitude'?"),
        (["--selections", ","], "a bench needs selections"),
        (["--seeds", "2-1"], "seeds 2-1 are 0"),
        (["--seeds", "a"], "seeds are numbers"),
        (["--protocol", "nb202"], "unknown protocol 'nb202'; did you mean 'nb201'?"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stopped:
        main(running(tmp_path / "bench", "darts", *words))
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "bench").exists()


OWN_TABLE = f"genotype,c10_test_200\n{BEST},90\n"
DARTS_TABLE = (
    "genotype,a\n\"Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2,3,4,5], "
    "reduce=[('max_pool_3x3', 0), ('skip_connect', 1)], reduce_concat=[2,3,4,5])\",1\n"
)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--selections", "foo"], "unknown selection 'foo'"),
        (["--out", "mine"], "mine holds something that is not a bench"),
        (["--table", "nope.csv"], "no such file: .*/nope.csv"),
        (["--table", "darts.csv"], "the table is of space darts, not of 'nasbench201'"),
        (["--table", "own.csv"], "unknown metric 'c100_test_200'"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_measured(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of the command line, where measuring would be an error."""
    monkeypatch.setattr(MethodContestant, "seconds", measured)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.csv").write_text(OWN_TABLE)
    (tmp_path / "darts.csv").write_text(DARTS_TABLE)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.txt").write_text("mine")
    with pytest.raises(Refused, match=message):
        app(args=running(tmp_path / "bench", "darts", *words), standalone_mode=False)
    assert not (tmp_path / "bench").exists()


def measured(*given: object) -> None:
    raise AssertionError("measured")


def test_a_bench_that_was_changed_by_hand_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MethodContestant, "seconds", measured)
    open_bench(tmp_path, bench(selections=("magnitud",)))
    with pytest.raises(Refused, match="did you mean 'magnitude'"):
        app(args=["resume", str(tmp_path)], standalone_mode=False)


def bench(**changed: Any) -> Any:
    given = {
        "protocol": "smoke",
        "contestants": ("darts",),
        "selections": ("magnitude",),
        "seeds": (0,),
        "data": "digits",
    }
    return bench_of(**given | changed)


def test_a_bench_keeps_what_fixes_the_comparison(tmp_path: Path) -> None:
    open_bench(tmp_path / "bench", bench())
    check_bench(tmp_path / "bench", bench(seeds=(0, 1), contestants=("darts", "random")))
    with pytest.raises(Refused, match="has data digits, not other"):
        check_bench(tmp_path / "bench", bench(data="other"))
    with pytest.raises(Refused, match="has protocol smoke, not nb201"):
        check_bench(tmp_path / "bench", bench(protocol="nb201"))
    assert read_bench(tmp_path / "bench") == bench()
    (tmp_path / "bench" / "bench.json").write_text('{"format": "poise.bench", "version": 1, "seeds": "x"}')
    with pytest.raises(Refused, match="damaged"):
        read_bench(tmp_path / "bench")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(Refused, match="not a bench"):
        check_bench(tmp_path / "other", bench())


def test_every_command_adds_to_what_is_asked_for(tmp_path: Path) -> None:
    """The two commands of docs/results.md, in short: not every contestant was asked for with every rule."""
    first = bench(
        contestants=("darts", "random"), selections=("magnitude", "perturbation"), seeds=(0, 1), table="/a.csv"
    )
    second = bench(contestants=("poise", "random"), seeds=(0, 1, 2), at_once=2)
    for more in (first, first, second):
        open_bench(tmp_path, more)
    found = read_bench(tmp_path)
    assert (found.table, found.at_once) == ("/a.csv", 2)
    wanted = {
        *(f"darts--{rule}--seed-{seed}.json" for rule in ("magnitude", "perturbation") for seed in (0, 1)),
        *(f"{name}--seed-{seed}.json" for name in ("poise--magnitude", "random--own") for seed in (0, 1, 2)),
    }
    assert {name for job in found.jobs(tmp_path) for name in missing(job, tmp_path)} == wanted
    assert len(list(found.jobs(tmp_path))) == 8, "every contestant once with every seed"
    open_bench(tmp_path, bench(contestants=("poise",), seeds=(0,)))
    assert read_bench(tmp_path).requests == found.requests, "asked for already"
    wider = bench(contestants=("poise", "random", "largest"), seeds=(0, 1, 2))
    open_bench(tmp_path, wider)
    assert read_bench(tmp_path).requests == (*first.requests, *wider.requests)
    open_bench(tmp_path, bench(contestants=("darts",), selections=("own",), seeds=(1,)))
    selections = {(job.contestant, job.seed): job.selections for job in read_bench(tmp_path).jobs(tmp_path)}
    assert selections["darts", 1] == ("magnitude", "perturbation", "own")
    assert selections["darts", 0] == ("magnitude", "perturbation")
    one = job_of(tmp_path, "darts", 1, ("perturbation",))
    assert (one.contestant, one.seed, one.selections) == ("darts", 1, ("perturbation",))
    with pytest.raises(Refused, match="no contestant 'poise' with seed 1 and perturbation"):
        job_of(tmp_path, "poise", 1, ("perturbation",))
    with pytest.raises(Refused, match="would share a folder"):
        check_bench(tmp_path, bench(contestants=("largest", "darts:search.epochs=1", "darts_search.epochs=1")))


def test_a_report_counts_the_results_that_are_missing(table: Path, tmp_path: Path) -> None:
    open_bench(tmp_path, bench(contestants=("darts", "random"), selections=("magnitude", "own"), seeds=(0, 1)))
    open_bench(tmp_path, bench(contestants=("poise",), seeds=(3,)))
    jobs = list(read_bench(tmp_path).jobs(tmp_path))
    for job in jobs:
        for name in missing(job, tmp_path):
            rule = name.split("--")[1] if job.name != "random" else ""
            found = Result(job.contestant, rule, job.seed, Genotype.parse(BEST), {}, trace=trace_of(BEST))
            assert found.file_name == name
            (tmp_path / "results" / name).write_text(found.to_json())
    assert report(tmp_path, table).missing == 0
    open_bench(tmp_path, bench(contestants=("poise",), seeds=(3,)))
    assert report(tmp_path, table).missing == 0, "asked for less, and nothing is forgotten"
    (tmp_path / "results" / "darts--own--seed-1.json").unlink()
    assert report(tmp_path, table).missing == 1


def trace_of(text: str) -> list[dict[str, Any]]:
    return [{"seconds": 0.0, "genotype": compact(Genotype.parse(text))}]


def test_a_bench_of_an_older_poise_is_read(tmp_path: Path) -> None:
    now = bench().model_dump(mode="json")
    (asked,) = now.pop("requests")
    (tmp_path / "bench.json").write_text(json.dumps({"format": "poise.bench", "version": 1} | now | asked))
    assert read_bench(tmp_path) == bench()
    open_bench(tmp_path, bench(seeds=(0, 4)))
    assert read_bench(tmp_path) == bench(seeds=(0, 4))


def test_a_bench_goes_on_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is a path is written down as an absolute one; names are not, also where a folder happens to have one."""
    for name in ("images/train/a", "digits/train/a", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "t.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    given = bench(data="images", table="t.csv")
    assert (given.data, given.table) == (str(tmp_path / "images"), str(tmp_path / "t.csv"))
    assert bench(data="elsewhere/../images").data == given.data
    for name in ("digits", "hf:owner/name", "absent"):
        assert bench(data=name).data == name
    open_bench(tmp_path / "new", given)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = read_bench(tmp_path / "new")
    assert found == given
    check_bench(tmp_path / "new", bench(data="../images"))

    # One whose paths were written as typed goes on where it was started, as it was started.
    monkeypatch.chdir(tmp_path)
    old = given.model_copy(update={"data": "images"})
    open_bench(tmp_path / "old", old)
    check_bench(tmp_path / "old", given)
    open_bench(tmp_path / "old", given)
    assert read_bench(tmp_path / "old").data == "images"
    with pytest.raises(Refused, match=r"has data images, not .*elsewhere"):
        check_bench(tmp_path / "old", bench(data="elsewhere"))


def test_threads_are_divided() -> None:
    assert [threads_each(jobs, 8) for jobs in (1, 2, 3, 8, 9)] == [8, 4, 2, 1, 1]


def test_query(plugin: Path, table: Path) -> None:
    code, said, err = poise(plugin, "bench", "query", BEST, "--table", str(table))
    assert code == 0, err
    assert "1 of 15,625" in said
    code, said, _ = poise(plugin, "bench", "query", WORST, "--table", str(table))
    assert "15,625 of 15,625" in said
    code, _, err = poise(plugin, "bench", "query", "|no~0|", "--table", str(table))
    assert code == 2
    assert len(err.splitlines()) == 1


def test_query_of_a_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell with the smaller latency and loss is the best by them, once it is said that less is better."""
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "own.csv").write_text(f"genotype,score,loss,latency\n{WORST},1,0.5,2\n{BEST},3,1.5,4\n")

    def ranks(*words: str) -> list[str]:
        capsys.readouterr()
        app(["bench", "query", WORST, "--table", str(tmp_path / "own.csv"), *words], standalone_mode=False)
        lines = capsys.readouterr().out.splitlines()
        return [line.split()[2] for line in lines if line.strip().startswith(("score", "loss", "latency"))]

    assert ranks() == ["2", "2", "2"]
    assert ranks("--lower", "loss", "--lower", "latency") == ["2", "1", "1"]
    with pytest.raises(Refused, match="unknown metric 'latencies'; did you mean 'latency'"):
        ranks("--lower", "latencies")
