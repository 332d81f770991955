"""Every task: a planted problem whose right answer every method finds, and runs that go on as if never stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.regression import MeanAbsoluteError

import poise
from faults.faults_support import outcome, same
from poise.engine.checkpointer import RunControl
from poise.methods import METHODS
from poise.tasks import TASKS, Own

CELLS_ONLY = ("p-darts", "pc-darts")
"""Methods that mean nothing on a module of one's own."""


class Blind(nn.Module):
    """Throws the signal away: the mean over the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=(0, 2, 3), keepdim=True).expand_as(x)


class Planted(nn.Module):
    """Two choices that share alphas, of which one candidate lets the images through; what comes after knows already
    what to make of them: one output is ``weights`` times the colours of a pixel."""

    def __init__(self, weights: list[list[float]], dense: bool = False) -> None:
        super().__init__()
        candidates = [{"blind": Blind(), "sight": nn.Identity(), "blinder": Blind()} for _ in range(2)]
        self.choices = nn.Sequential(*(poise.Choice(each, "seeing") for each in candidates))
        self.head = nn.Conv2d(3, len(weights), 1, bias=False)
        self.dense = dense
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor(weights)[:, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.head(self.choices(images))
        return found if self.dense else found.mean(dim=(2, 3))


@dataclass(frozen=True)
class Problem:
    """A task, images of 4 × 4 pixels with their labels, and what is to be made of colours."""

    task: Any
    data: poise.Images
    weights: list[list[float]]

    def network(self) -> Planted:
        return Planted(self.weights, dense=self.data.labels.ndim == 3)

    def ignorant(self) -> Planted:
        """One that has everything to learn, so that its metrics differ from step to step."""
        drawn = torch.randn(len(self.weights), 3, generator=torch.Generator().manual_seed(0))
        return Planted(drawn.tolist(), dense=self.data.labels.ndim == 3)


@cache
def problem(name: str) -> Problem:
    """The labels say which colour of an image is strongest, which are strong, how strong two of them are, in thousands;
    and of every pixel whether its first colour is strong."""
    generator = torch.Generator().manual_seed(0)
    colours = torch.randint(0, 256, (96, 3), dtype=torch.uint8, generator=generator)
    plain = colours[:, :, None, None].expand(96, 3, 4, 4).clone()
    dotted = 255 * torch.randint(0, 2, (96, 3, 4, 4), dtype=torch.uint8, generator=generator)
    strong, numbers = (colours > 127).float(), 1000 * colours[:, :2].float()
    three, two = [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    lightness = [[-2.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    of_own = Own(nn.MSELoss(), {"mae": MeanAbsoluteError()})
    return {
        "classification": Problem(
            "classification", poise.Images(plain, colours.float().argmax(1), tuple("rgb")), three
        ),
        "multilabel": Problem("multilabel", poise.Images(plain, strong, tuple("rgb")), three),
        "regression": Problem("regression", poise.Images(plain, numbers, tuple("rg")), two),
        "segmentation": Problem(
            "segmentation", poise.Images(dotted, (dotted[:, 0] > 127).long(), ("dark", "light")), lightness
        ),
        "own": Problem(of_own, poise.Images(plain, (colours[:, :2].float() - 127) / 74, tuple("rg")), two),
    }[name]


NAMES = [name for name in TASKS if name != "language"]
"""Texts have tests of their own: test_text_search.py and test_resume_stages.py."""

SEARCH = {
    "search.epochs": 3, "search.batch_size": 12, "search.weights.learning_rate": 0.02,
    "search.weights.final_learning_rate": 0.02, "search.alphas.learning_rate": 0.1,
}  # fmt: skip


@pytest.mark.parametrize("method", [name for name in METHODS if name not in CELLS_ONLY])
@pytest.mark.parametrize("name", NAMES)
def test_every_method_finds_the_planted_answer(name: str, method: str) -> None:
    planted = problem(name)
    found = poise.search(
        planted.network(), (planted.data, planted.data), task=planted.task, method=method, settings=SEARCH, device="cpu"
    )
    assert found.genotype.choices == {"seeing": {"choice": ("sight",)}}
    metric = found.history[-1]["metric"]["name"]
    assert {f"train_{metric}", "train_loss"} <= set(found.history[-1])


@pytest.mark.parametrize("method", CELLS_ONLY)
def test_what_is_for_cells_is_refused(method: str) -> None:
    planted = problem("regression")
    with pytest.raises(poise.Refused, match="space 'custom' has no"):
        poise.search(planted.network(), (planted.data, planted.data), task="regression", method=method, device="cpu")


class StopAfter:
    """Asks to stop at every visit from the given one on."""

    def __init__(self, visits: int) -> None:
        self.left = visits

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


RUN: dict[str, Any] = {
    "search.epochs": 1, "search.batch_size": 16, "selection": "perturbation", "selection.tune_epochs": 1,
    "train.epochs": 1, "train.batch_size": 32,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_is_stopped_ends_as_one_that_is_not(name: str, tmp_path: Path) -> None:
    """Search, selection and training, stopped at every second step."""
    planted = problem(name)
    data = (planted.data, planted.data)
    own = {} if isinstance(planted.task, str) else {"task": planted.task}

    def search(out: Path, control: RunControl) -> Any:
        return poise.search(
            planted.ignorant(), data, task=planted.task, settings=RUN, device="cpu", out=out, control=control
        )

    def train(run: Path, control: RunControl) -> Any:
        return poise.train(run, data, module=planted.ignorant(), **own, out=run / "net", control=control)

    def until_done(begin: Callable[[RunControl], Any], folder: Path) -> int:
        for stops in range(100):
            control = RunControl(every=1e9, asked=StopAfter(2))
            try:
                if stops:
                    poise.resume(folder, data=data, module=planted.ignorant(), **own, control=control)
                else:
                    begin(control)
            except poise.Stopped:
                continue
            return stops
        raise AssertionError("it never ends")

    search(tmp_path / "whole", RunControl())
    train(tmp_path / "whole", RunControl())
    assert until_done(lambda control: search(tmp_path / "run", control), tmp_path / "run") >= 3
    assert until_done(lambda control: train(tmp_path / "run", control), tmp_path / "run" / "net") >= 1
    for part in (".", "net"):
        same(outcome(tmp_path / "run" / part), outcome(tmp_path / "whole" / part))
    assert "result" in outcome(tmp_path / "run" / "net")
