"""`poise.diagnose`: on runs and results, of every kind of method; it moves nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import poise
from poise.diagnostics.diagnostic import DIAGNOSTICS
from poise.diagnostics.landscape import Landscape
from poise.engine.events import Event, Noted, Started, Stepped

TINY: Mapping[str, Any] = {
    "search.epochs": 1, "search.images_per_half": 12, "search.batch_size": 12, "space.channels": 4, "space.cells": 1,
}  # fmt: skip
SMALL = (Landscape(points=3), *(name for name in DIAGNOSTICS if name != "landscape"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> poise.SearchResult:
    out = tmp_path_factory.mktemp("runs") / "run"
    return poise.search("digits", space="nasbench201", method="darts", settings=TINY, out=out)


def test_a_run_gets_new_files_and_keeps_its_own(result: poise.SearchResult) -> None:
    assert result.folder is not None
    before, generator = contents(result.folder), torch.get_rng_state()
    events: list[Event] = []
    found = poise.diagnose(result.folder, SMALL, listen=events.append)
    after = contents(result.folder)
    new = {"diagnose.json", "figures/landscape.svg", "figures/landscape.png"}
    assert set(after) - set(before) == new
    assert {str(file.relative_to(result.folder)) for file in found.files} == new
    assert {name: after[name] for name in before} == before
    assert torch.equal(torch.get_rng_state(), generator)

    written = json.loads(after["diagnose.json"])
    assert list(written["findings"]) == [
        diagnostic if isinstance(diagnostic, str) else "landscape" for diagnostic in SMALL
    ]
    assert (
        written["findings"]["discretisation"]["numbers"]["discretisation/drop"] == found.numbers["discretisation/drop"]
    )
    assert len(written["findings"]["spectrum"]["series"]["eigenvalues"]) == 30
    plane = written["findings"]["landscape"]["surfaces"][1]
    assert plane["losses"][1][1] == found.numbers["landscape/loss"]
    assert str(found).splitlines()[0].startswith("landscape/loss")

    total = next(event.steps for event in events if isinstance(event, Started))
    steps = [event.done for event in events if isinstance(event, Stepped)]
    assert steps == sorted(steps)
    assert 0 < steps[-1] <= total
    assert not any(isinstance(event, Noted) for event in events)

    again = poise.diagnose(result.folder, SMALL)
    assert again.numbers == found.numbers
    assert contents(result.folder) == after, "the same bytes twice"


def test_a_result_says_the_same_and_is_left_alone(result: poise.SearchResult) -> None:
    before = {name: value.clone() for name, value in result.supernet.state_dict().items()}
    names = ["eigenvalue", "discretisation", "alignment", "saturation"]
    found = poise.diagnose(result, names)
    assert found.files == ()
    assert result.folder is not None
    assert found.numbers == poise.diagnose(result.folder, names).numbers
    assert all(torch.equal(value, before[name]) for name, value in result.supernet.state_dict().items())
    assert found.numbers["discretisation/accuracy"] == pytest.approx(
        poise.diagnose(result, ["discretisation"], device="cpu").numbers["discretisation/accuracy"]
    )


def test_the_chosen_architecture_is_what_is_measured(result: poise.SearchResult, tmp_path: Path) -> None:
    """Another genotype in the folder is another loss; the alphas' own numbers stay."""
    assert result.folder is not None
    names = ["discretisation", "skips"]
    before = poise.diagnose(result.folder, names).numbers
    own = (result.folder / "genotype.json").read_text()
    choices = {"cell": {row.name: ["skip_connect"] for row in result.groups[0].rows}}
    other = {"format": "poise.genotype", "version": 1, "space": "nasbench201", "choices": choices}
    (result.folder / "genotype.json").write_text(json.dumps(other))
    after = poise.diagnose(result.folder, names).numbers
    (result.folder / "genotype.json").write_text(own)
    assert after["skips/chosen"] == 1
    assert after["discretisation/loss"] == before["discretisation/loss"]
    assert after["discretisation/loss_discrete"] != before["discretisation/loss_discrete"]


QUICK = tuple(name for name in DIAGNOSTICS if name not in ("landscape", "spectrum"))


@pytest.mark.parametrize(
    ("space", "method", "more"),
    [
        ("nasbench201", "blank-pt", {"selection.tune_epochs": 0}),  # alphas all equal
        ("s4", "fair-darts", {"space.channels": 2, "space.cells": 3}),  # sigmoid, threshold, noise
    ],
)
def test_every_kind_of_method(space: str, method: str, more: Mapping[str, Any]) -> None:
    result = poise.search("digits", space=space, method=method, settings={**TINY, **more})
    found = poise.diagnose(result, QUICK)
    assert all(isinstance(value, float) for value in found.numbers.values())
    assert {name.split("/")[0] for name in found.numbers} >= {"discretisation", "eigenvalue", "saturation"}
    assert poise.diagnose(result, QUICK).numbers == found.numbers, "noise included"


def test_weights_of_edges_are_groups_too(tmp_path: Path) -> None:
    settings = {**TINY, "search.diagnostics": ["discretisation", "saturation"]}
    result = poise.search("digits", space="nasbench201", method="pc-darts", settings=settings, out=tmp_path / "run")
    found = poise.diagnose(tmp_path / "run", ["spectrum", "discretisation"])
    groups = [group.name for group in result.groups]
    assert len(groups) > 1
    assert {f"spectrum/largest/{name}" for name in groups} <= set(found.numbers)
    assert {f"saturation/{name}/entropy" for name in groups} <= set(result.history[0])
    # By magnitude while it went on, by magnitude when it ended.
    assert found.numbers["discretisation/drop"] == result.history[0]["discretisation/drop"]


def test_numbers_of_every_epoch(result: poise.SearchResult) -> None:
    names = ["discretisation", "saturation", "spectrum"]
    found = poise.search("digits", space="nasbench201", method="darts", settings={**TINY, "search.diagnostics": names})
    after = poise.diagnose(result, names).numbers
    assert {name: found.history[0][name] for name in after} == after
    assert {"discretisation/drop", "saturation/cell/settled", "spectrum/largest"} <= set(after)
    assert found.history[0]["alphas"] == result.history[0]["alphas"], "measuring changes nothing"


def test_what_cannot_be_diagnosed(result: poise.SearchResult, tmp_path: Path) -> None:
    assert result.folder is not None
    with pytest.raises(poise.Refused, match="there is no run at"):
        poise.diagnose(tmp_path / "no")
    with pytest.raises(poise.Refused, match="unknown diagnostic 'landscap'; did you mean 'landscape'"):
        poise.diagnose(result.folder, ["landscap"])
    with pytest.raises(poise.Refused, match="'skips' is asked for twice"):
        poise.diagnose(result.folder, ["skips", "skips"])
    with pytest.raises(poise.Refused, match="takes a list of diagnostics"):
        poise.diagnose(result.folder, "skips")
    with pytest.raises(poise.Refused, match="at least 1 batch, got 0"):
        poise.diagnose(result.folder, batches=0)
    half = tmp_path / "half"
    half.mkdir()
    for name in ("run.json", "config.yaml", "alphas.safetensors", "supernet.safetensors"):
        (half / name).write_bytes((result.folder / name).read_bytes())
    with pytest.raises(poise.Refused, match=r"holds no genotype.json: the run is not finished; poise resume"):
        poise.diagnose(half)
    module = torch.nn.Sequential(
        torch.nn.Flatten(), poise.Choice({"a": torch.nn.Linear(64, 10), "b": torch.nn.Linear(64, 10)})
    )
    data = poise.open_source("digits").load("train", torch.arange(100), None)
    own = poise.search(module, data, method="darts", settings={k: v for k, v in TINY.items() if k.startswith("search")})
    with pytest.raises(poise.Refused, match="came from Python; pass it again as data="):
        poise.diagnose(own)
    found = poise.diagnose(own, [Landscape(points=3), "spectrum"], data=data)
    assert found.numbers["spectrum/largest"] > 0
