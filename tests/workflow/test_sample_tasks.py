"""Tasks other than one class, on data that is no images: found by the labels, trained, measured and predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sample_modules import Tabular
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import poise
from poise.supernet.trees import count_of
from poise.workflow.inference import inferred

COUNT = 200
ROWS = np.random.default_rng(0).normal(size=(COUNT, 6))
SETTINGS: dict[str, Any] = {
    "search.epochs": 2,
    "search.batch_size": 32,
    "search.weights.learning_rate": 0.1,
    "train.epochs": 25,
    "train.batch_size": 32,
    "train.weights.learning_rate": 0.1,
}


class Maps(nn.Module):
    """Maps, and one number of each, to a class for every value."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = poise.Choice({"k1": nn.Conv2d(1, 2, 1), "k3": nn.Conv2d(1, 2, 3, padding=1)})
        self.kind = nn.Embedding(3, 2)

    def forward(self, maps: Tensor, kind: Tensor) -> Tensor:
        return self.layer(maps[:, None]) + self.kind(kind)[..., None, None]  # type: ignore[no-any-return]


SETS = np.stack([ROWS[:, 0] > 0, ROWS[:, 1] + ROWS[:, 2] > 0], 1).astype(int)
NUMBERS = 50 + 20 * ROWS[:, 0] - 10 * ROWS[:, 3]
FIELDS = np.random.default_rng(1).normal(size=(COUNT, 5, 4))
KINDS = np.arange(COUNT) % 3
TASKS: dict[str, tuple[nn.Module, Any, float]] = {
    "multilabel": (Tabular(6, 2), (ROWS, SETS), 0.9),
    "regression": (Tabular(6, 1), (ROWS, NUMBERS), 0.8),
    "segmentation": (Maps(), ((FIELDS, KINDS), (FIELDS > 0).astype(int)), 0.8),
}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_found_by_the_labels_and_learnt(name: str, tmp_path: Path) -> None:
    module, data, least = TASKS[name]
    assert inferred(data) == name
    found = poise.search(module, data, method="darts", preset="demo", settings=SETTINGS)
    assert found.settings.task.name == name
    net = poise.train(found, data, out=tmp_path / "net")
    metric = f"test_{net.history[-1]['metric']['name']}"
    assert net.result[metric] > least
    again = poise.load_network(tmp_path / "net", module=module)
    with torch.random.fork_rng():
        measured = poise.evaluate(again, data)
    assert measured[metric.removeprefix("test_")] == pytest.approx(net.result[metric], abs=1e-6)
    few = (FIELDS[:2], KINDS[:2]) if name == "segmentation" else ROWS[:2]
    said = [one.prediction for one in poise.predict(again, few)]
    if name == "segmentation":
        assert [one["mask"].shape for one in said] == [(5, 4)] * 2
        assert np.mean(said[0]["mask"].numpy() == (FIELDS[0] > 0)) > 0.7
    elif name == "regression":
        assert [next(iter(one.values())) for one in said] == pytest.approx(NUMBERS[:2].tolist(), abs=15)
    else:
        assert set(said[0]["probabilities"]) == {"0", "1"}


def test_numbers_in_another_unit_are_another_network_of_the_same_choices() -> None:
    """The same random numbers, and losses of standardised numbers: predictions differ by the unit alone."""
    found = [
        poise.train(poise.search(Fixed(), data, method="darts", preset="demo", settings=SETTINGS), data)
        for data in ((ROWS, NUMBERS), (ROWS * 1000 - 7, NUMBERS * 4096))
    ]
    one, other = (network.result for network in found)
    assert one["test_r2"] == pytest.approx(other["test_r2"], abs=1e-3)
    assert one["test_mae"] * 4096 == pytest.approx(other["test_mae"], rel=1e-2)


class Fixed(nn.Module):
    """`Tabular` that begins with the same weights each time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = Tabular(6, 1)

    def forward(self, rows: Tensor) -> Tensor:
        return self.inner(rows)  # type: ignore[no-any-return]


def test_the_task_is_told_by_labels_and_not_by_inputs() -> None:
    x, floats, ids = torch.zeros(4, 3), torch.rand(4), torch.arange(4)
    assert inferred(((x, floats), ids)) is None
    assert inferred(((ids, ids), floats)) == "regression"
    assert inferred(({"a": x, "b": floats}, ids)) is None
    assert inferred(((x, floats), (x, floats))) == "regression"
    assert inferred(((x, ids), (x, ids))) is None
    assert inferred(TensorDataset(x, floats, ids)) is None
    assert inferred(TensorDataset(x, ids, floats)) == "regression"
    assert inferred((TensorDataset(x, floats), TensorDataset(x, floats))) == "regression"


class Heads(nn.Module):
    """Rows to a dict of outputs; of targets there is one in a dict of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Tabular(6, 2)

    def forward(self, rows: Tensor) -> dict[str, Tensor]:
        found = self.inner(rows)
        return {"mean": found[:, 0], "spread": found[:, 1]}


class Targets(torch.utils.data.Dataset[Any]):
    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return ROWS[index], {"only": float(NUMBERS[index])}


def likelihood(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return F.gaussian_nll_loss(outputs["mean"], targets["only"] / 50, outputs["spread"].exp())


def test_a_dict_of_one_tensor_has_as_many_rows_as_that() -> None:
    assert count_of({"only": torch.zeros(32)}) == 32


def test_outputs_and_targets_of_any_form_are_trained_selected_and_diagnosed(tmp_path: Path) -> None:
    task, data, run = poise.tasks.Own(loss=likelihood), (Targets(), Targets()), tmp_path / "run"
    settings = SETTINGS | {"selection": "perturbation", "selection.tune_epochs": 1, "train.epochs": 3}
    found = poise.search(Heads(), data, task=task, method="darts", preset="demo", settings=settings, out=run)
    assert found.history[-1]["search_loss"] < found.history[0]["search_loss"]
    given: dict[str, Any] = {"data": data, "module": Heads(), "task": task}
    told = poise.diagnose(run, ["discretisation"], **given).numbers["discretisation/loss"]
    net = poise.train(found, data)
    assert poise.evaluate(net, data)["loss"] == pytest.approx(net.result["test_loss"], rel=1e-5)
    assert told < found.history[0]["search_loss"]
