"""A search with a cost target, from the command line to the retrained network."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.cli.main import main
from poise.config.resolve import resolve
from poise.costs.counting import cost_of, count
from poise.costs.latency import Form, LatencyTable, read_table
from poise.engine.checkpointer import RunControl
from poise.engine.events import Noted
from poise.engine.run import RunFolder
from poise.spaces import SPACES, ImageShape
from poise.spaces.space import kept_of
from poise.workflow.costing import load_cost
from poise.workflow.measuring import measured_size, new_file, save_table

TINY: dict[str, Any] = {
    "space.channels": 2,
    "space.cells": 1,
    "search.epochs": 2,
    "search.images_per_half": 80,
    "search.batch_size": 20,
    "search.alphas.learning_rate": 0.1,
    "train.epochs": 1,
    "train.channels": 4,
    "train.cells": 1,
    "train.batch_size": 400,
}
TASK = ImageShape(1, (8, 8), 10)
SPACE: Any = SPACES["nasbench201"]()
COSTS = count(SPACE, TASK, "macs", 4, 1)
TARGET = poise.CostTarget("macs", sum(COSTS.range()) / 2)


def search(out: Path | None, **more: Any) -> poise.SearchResult:
    options: dict[str, Any] = {"settings": TINY, "method": "darts", "cost_target": TARGET, **more}
    return poise.search("digits", space="nasbench201", preset="demo", out=out, **options)


def test_a_search_ends_within_a_tenth_of_its_target(tmp_path: Path) -> None:
    notes: list[str] = []
    found = search(tmp_path / "run", listen=lambda e: notes.append(e.message) if isinstance(e, Noted) else None)
    folder = RunFolder(tmp_path / "run")
    cost = folder.read_json("cost.json")
    assert found.cost == cost
    true = cost_of(SPACE, found.genotype, TASK, "macs", 4, 1)
    assert cost["true"] == cost["summed"] == cost["macs"] == true
    assert 0.9 * TARGET.value <= true <= TARGET.value
    assert cost["parameters"] == cost_of(SPACE, found.genotype, TASK, "parameters", 4, 1)
    assert any(note.startswith("macs of the network") for note in notes)
    # The expected cost is that of the alphas; it moved towards the target.
    softmax = {name: values.double().softmax(dim=1) for name, values in found.alphas.items()}
    assert cost["expected"] == pytest.approx(float(COSTS.expected(softmax)), rel=1e-6)
    course = [record["expected_cost"]["macs"] for record in folder.history()]
    assert course[-1] == pytest.approx(cost["expected"], rel=1e-4)
    start = float(COSTS.expected({"cell": torch.full((6, 5), 0.2, dtype=torch.float64)}))
    assert abs(course[-1] - TARGET.value) < abs(start - TARGET.value)
    told = [note for note in notes if "knows no target" in note]
    poise.select(tmp_path / "run", listen=lambda e: told.append(e.message) if isinstance(e, Noted) else None)
    assert not any("knows no target" in note for note in told)
    poise.select(
        tmp_path / "run", "magnitude", listen=lambda e: told.append(e.message) if isinstance(e, Noted) else None
    )
    assert any(note.startswith("selection=magnitude knows no target") for note in told)
    assert folder.read_json("cost.json")["true"] == cost_of(SPACE, folder.genotype(), TASK, "macs", 4, 1)
    for damaged in ("{", "{}", json.dumps(cost | {"true": "1"}), json.dumps(cost | {"metric": "money"})):
        (folder.path / "cost.json").write_text(damaged)
        with pytest.raises(poise.Refused, match=r"cost.json is damaged"):
            load_cost(folder)
    trained = poise.train(found)
    assert trained.result["macs"] == true


def test_stopped_and_gone_on_it_ends_the_same(tmp_path: Path) -> None:
    whole = search(None)
    left = 3

    def asked() -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    with pytest.raises(poise.Stopped):
        search(tmp_path / "run", control=RunControl(every=0, asked=asked))
    found = poise.resume(tmp_path / "run")
    assert isinstance(found, poise.SearchResult)
    assert found.genotype == whole.genotype
    assert all(torch.equal(found.alphas[name], values) for name, values in whole.alphas.items())
    assert found.cost == whole.cost


def test_what_cannot_be_met_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(poise.Refused, match="the cheapest has"):
        search(tmp_path / "run", cost_target=poise.CostTarget("macs", 1.0))
    with pytest.raises(poise.Refused, match="cannot read the latency table"):
        search(tmp_path / "run", cost_target=poise.CostTarget("latency", 1.0, str(tmp_path / "none.json")))
    assert not (tmp_path / "run").exists()


def test_a_method_that_measures_keeps_its_selection(tmp_path: Path) -> None:
    settings = TINY | {"search.epochs": 1, "selection": "perturbation", "selection.tune_epochs": 0}
    found = search(None, settings=settings)
    assert found.settings.method.selection.kind == "perturbation"
    assert found.cost is not None
    assert found.cost["true"] == cost_of(SPACE, found.genotype, TASK, "macs", 4, 1)


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


def test_latency_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, run = tmp_path / "latency.json", tmp_path / "run"
    sizes = ["--set", "train.channels=4", "--set", "train.cells=1"]
    measuring = ["--image-channels", "1", "--size", "8", "--rounds", "3", "--out", str(table)]
    assert command("measure-latency", "--space", "nasbench201", *sizes, *measuring) == 0
    assert command("measure-latency", "--space", "nasbench201", *sizes, *measuring) == 2
    assert "exists; choose another file, or pass --overwrite" in capsys.readouterr().err
    found = read_table(table)
    low, high = found.costs(SPACE, TASK, 4, 1).range()
    target = (low + high) / 2
    settings = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    searching = ["search", "--data", "digits", "--space", "nasbench201", "--method", "darts", "--preset", "demo"]
    aim = ["--target-latency", f"{1e6 * target:.3f}us", "--latency-table", str(table)]
    assert command(*searching, *settings, *aim, "--out", str(run)) == 0
    cost = json.loads((run / "cost.json").read_text())
    assert cost["summed"] == pytest.approx(found.costs(SPACE, TASK, 4, 1).of(_kept(run)))
    assert 0.9 * target <= cost["summed"] <= 1.001 * target
    assert cost["true"] > 0
    assert "latency measured" in capsys.readouterr().out
    table.write_text(json.dumps(json.loads(table.read_text()) | {"device": {"device": "another"}}))
    assert poise.select(run).genotype == RunFolder(run).genotype()
    assert json.loads((run / "cost.json").read_text())["true"] > 0, "the table is the one that the run began with"
    (run / "latency-tables.json").unlink()
    poise.select(run)
    assert json.loads((run / "cost.json").read_text())["true"] is None
    table.write_text("{}")
    assert command(*searching, *settings, *aim[:2], "--out", str(tmp_path / "more")) == 2
    assert "poise measure-latency" in capsys.readouterr().err
    assert command(*searching, *settings, "--target-macs", "much", "--out", str(tmp_path / "more")) == 2
    assert "--target-macs takes a number with k, M or G, such as 300M; got 'much'" in capsys.readouterr().err


def made_up(path: Path) -> tuple[LatencyTable, poise.CostTarget]:
    """A table that nobody measured, of another device, and a target between."""
    rows = {row.name: dict.fromkeys(row.candidates, 1.0) | {"none": 0.0} for row in SPACE.groups[0].rows}
    table = LatencyTable(Form.of(SPACE, TASK, 4, 1), {"device": "none"}, 3, 7.0, {"cell": rows}, ())
    save_table(path, table)
    return table, poise.CostTarget("latency", 11.0, path.name)


def test_a_run_needs_its_table_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, left = tmp_path / "run", 3
    monkeypatch.chdir(tmp_path)
    table, target = made_up(tmp_path / "lat.json")
    whole = search(None, cost_target=target, listen=lambda e: Path("lat.json").unlink(missing_ok=True))
    assert whole.cost is not None
    assert whole.cost["summed"] == table.costs(SPACE, TASK, 4, 1).of(kept_of(whole.genotype, SPACE.groups))

    def asked() -> bool:
        nonlocal left
        left -= 1
        return left <= 0

    made_up(tmp_path / "lat.json")
    with pytest.raises(poise.Stopped):
        search(run, cost_target=target, control=RunControl(every=0, asked=asked))
    config = (run / "config.yaml").read_text()
    assert config.count(f"table: {tmp_path / 'lat.json'}\n") == 1, "absolute"
    # Measured again, with other numbers: the run goes on with what it began with, with the same words on the way.
    (tmp_path / "lat.json").write_text(replace(table, fixed=9.0).to_json())
    left = 3
    with pytest.raises(poise.Stopped):
        search(run, cost_target=target, resume=True, control=RunControl(every=0, asked=asked))
    (tmp_path / "lat.json").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = poise.resume(run)
    assert isinstance(found, poise.SearchResult)
    assert found.genotype == whole.genotype
    assert all(torch.equal(found.alphas[name], values) for name, values in whole.alphas.items())
    assert found.cost == whole.cost
    assert poise.select(run).genotype == whole.genotype
    assert load_cost(RunFolder(run)) == whole.cost
    for damaged in ("{", "{}", (run / "latency-tables.json").read_text().replace("7.0", '"7.0"')):
        (run / "latency-tables.json").write_text(damaged)
        with pytest.raises(poise.Refused, match=r"latency-tables.json is"):
            poise.select(run)
    # Nothing that does without costs asks for them.
    (run / "latency-tables.json").unlink()
    with pytest.raises(poise.Refused, match=f"cannot read the latency table {tmp_path}/lat.json"):
        poise.select(run)
    poise.diagnose(run, ["skips"])
    poise.diagnose(found, ["skips"])
    assert command("show", str(run)) == 0
    assert "latency by the table" in capsys.readouterr().out


def test_a_run_that_was_killed_before_it_began_is_begun_again(tmp_path: Path) -> None:
    for name in ("run.json", "latency-tables.json", ".latency-tables.json.new"):
        (tmp_path / name).write_text("{}")
    RunFolder.check(tmp_path, overwrite=False)


def _kept(run: Path) -> Any:
    return kept_of(RunFolder(run).genotype(), SPACE.groups)


def test_images_are_measured_in_the_size_that_the_settings_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "latency.json"
    measuring = ["measure-latency", "--space", "nasbench201", "--rounds", "1", "--out", str(table), "--overwrite"]
    sizes = ["--set", "train.channels=2", "--set", "train.cells=1"]
    set_to = ["--set", "data.size=16"]
    for given, pixels in ((set_to, (16, 16)), ([*set_to, "--size", "16"], (16, 16)), (["--size", "8x12"], (8, 12))):
        assert command(*measuring, *sizes, *given) == 0
        assert read_table(table).form.image == (3, *pixels)
    assert command(*measuring, *sizes, *set_to, "--size", "16x8") == 2
    assert "the images are to be 16x8, but data.size is 16; give one of them" in capsys.readouterr().err
    assert measured_size(resolve(space="nasbench201"), None) == (32, 32)


@contextmanager
def no_room(most: int) -> Iterator[None]:
    """Files cannot grow beyond so many bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_table_that_could_not_be_written_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    for place in ("/proc/x.json", str(tmp_path / "none" / "x.json"), str(tmp_path / "folder"), "x" * 300):
        # Measuring would refuse this space.
        assert command("measure-latency", "--space", "recurrent", "--out", place) == 2
        assert f"cannot write {place[:50]}" in capsys.readouterr().err.replace("\n", "")
    with pytest.raises(poise.Refused, match=r"cannot write .*x\.json: File too large"), no_room(1000):
        new_file(tmp_path / "x.json", False)
    assert new_file(tmp_path / "x.json", False) == tmp_path / "x.json"
    assert [file.name for file in tmp_path.iterdir()] == ["folder"]


def test_a_disk_that_is_full_leaves_the_old_table_whole(tmp_path: Path) -> None:
    table = LatencyTable(Form.of(SPACE, TASK, 4, 1), {}, 3, 7.0, {}, ())
    save_table(tmp_path / "x.json", table)
    with pytest.raises(poise.Refused, match=r"cannot write .*x\.json: File too large"), no_room(100):
        save_table(tmp_path / "x.json", table)
    assert read_table(tmp_path / "x.json") == table
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]
