"""A task of one's own: any loss and any metrics, on targets of any form; saved runs take it again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchmetrics import MeanMetric
from torchmetrics.regression import MeanAbsoluteError

import poise
from poise.engine.checkpointer import RunControl

SMALL = {
    "search.epochs": 2,
    "search.batch_size": 16,
    "train.epochs": 2,
    "train.batch_size": 16,
    "method.selection": "magnitude",
}


class Pairs(Dataset[Any]):
    """Rows, and two targets for each: a number and its square."""

    def __len__(self) -> int:
        return 80

    def __getitem__(self, row: int) -> Any:
        x = torch.randn(4, generator=torch.Generator().manual_seed(row))
        return {"rows": x}, {"sum": x.sum(), "square": x.sum() ** 2}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = poise.Choice({"linear": nn.Linear(4, 8), "deep": nn.Sequential(nn.Linear(4, 8), nn.ReLU())})
        self.heads = nn.ModuleDict({"sum": nn.Linear(8, 1), "square": nn.Linear(8, 1)})

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        return {name: head(self.body(rows))[:, 0] for name, head in self.heads.items()}


def both(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return torch.stack([(outputs[name] - targets[name]).square().mean() for name in targets]).sum()


class OffBy(MeanAbsoluteError):
    """How far the sum is off."""

    def update(self, outputs: Any, targets: Any) -> None:
        super().update(outputs["sum"], targets["sum"])


def task() -> poise.tasks.Own:
    return poise.tasks.Own(both, {"off_by": OffBy()})


def run(out: Path, **more: Any) -> Any:
    return poise.search(Net(), Pairs(), task=task(), method="darts", settings=SMALL, out=out, **more)


def test_it_is_searched_trained_measured_and_asked(tmp_path: Path) -> None:
    result = run(tmp_path / "run")
    assert result.history[-1]["metric"] == {"name": "off_by", "higher_is_better": False, "share": False}
    assert result.history[-1]["search_off_by"] > 0
    network = poise.train(result, (Pairs(), Pairs()), out=tmp_path / "net")
    found = poise.evaluate(network, (Pairs(), Pairs()))
    assert set(found) == {"off_by", "loss"}
    said = [
        one.prediction["outputs"]
        for one in network.predict({"rows": torch.stack([Pairs()[i][0]["rows"] for i in range(3)])})
    ]
    assert [set(each) for each in said] == [{"sum", "square"}] * 3
    loaded = poise.load_network(tmp_path / "net", module=Net(), task=task())
    assert poise.evaluate(loaded, (Pairs(), Pairs())) == pytest.approx(found, rel=1e-6)


def test_a_saved_run_takes_the_task_again(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    stops = iter([False] * 3 + [True] * 99)
    with pytest.raises(poise.Stopped):
        run(tmp_path / "run", control=RunControl(0, lambda: next(stops)))
    with pytest.raises(poise.Refused, match="a task of your own, which no folder can bring back"):
        poise.resume(tmp_path / "run", data=Pairs(), module=Net())
    other = poise.tasks.Own(both, {"another": OffBy()})
    with pytest.raises(poise.Refused, match="task= is not the task of"):
        poise.resume(tmp_path / "run", data=Pairs(), module=Net(), task=other)
    again = poise.resume(tmp_path / "run", data=Pairs(), module=Net(), task=task())
    assert isinstance(again, poise.SearchResult)
    for name, alphas in whole.alphas.items():
        assert torch.equal(again.alphas[name], alphas)
    assert [record["search_off_by"] for record in again.history] == [r["search_off_by"] for r in whole.history]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(poise.Refused, match="task own is for Python"):
        poise.search("digits", task="own", preset="demo")
    with pytest.raises(poise.Refused, match="must know how many numbers"):
        poise.search("digits", task=task(), preset="demo")
    with pytest.raises(poise.Refused, match=r"MeanMetric.* does not say what is better"):
        poise.search(Net(), Pairs(), task=poise.tasks.Own(both, {"mean": MeanMetric()}), settings=SMALL)
    with pytest.raises(poise.Refused, match="expected what the loss takes"):
        poise.search(Net(), Pairs(), task=poise.tasks.Own(lambda outputs, targets: outputs - targets), settings=SMALL)
