"""Networks of every task: what ONNX files predict, and Python files without poise, is what the network itself does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from export_networks import BENCH, DENSE, NASTY, TASK, card, images, network
from safetensors.torch import save_file
from test_export_python import ALONE
from torch import nn

import poise
from poise.data.labels import Seen
from poise.export.card import Card
from poise.export.exports import EXPORTS
from poise.report.predictions import flat
from poise.tasks.classification import Classification
from poise.tasks.multilabel import MultiLabel
from poise.tasks.regression import Regression
from poise.tasks.segmentation import Segmentation

PIXELS = (images(5) * 255).to(torch.uint8)

Made = tuple[nn.Module, Card, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=[Classification, MultiLabel, Regression, Segmentation])
def made(request: pytest.FixtureRequest) -> Made:
    """A complete network, what it says of itself, and what it predicts."""
    task = request.param()
    shape = DENSE if task.dense else TASK
    told = card(BENCH, shape=shape, task=task)
    finish = task.finish(told.seen)
    model = nn.Sequential(*network(BENCH, shape=shape), *([] if finish is None else [finish])).eval()
    with torch.no_grad():
        expected = task.predictions(model(PIXELS / 255), told.seen)
    assert flat(expected[0]) != flat(expected[1]), "a constant network would prove nothing"
    return model, told, expected


def check(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected) == len(PIXELS)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in flat(one).items():
            expected_ = flat(other)[name]
            assert value == (expected_ if isinstance(expected_, str) else pytest.approx(expected_, rel=1e-5, abs=1e-5))
        if "mask" in other:
            assert torch.equal(torch.as_tensor(one["mask"], dtype=torch.uint8), other["mask"])


def test_onnx(made: Made, tmp_path: Path) -> None:
    model, told, expected = made
    (file,) = EXPORTS["onnx"](model, tmp_path / "net", told)
    check([one.prediction for one in poise.predict(file, PIXELS, batch_size=2)], expected)


def test_python(made: Made, tmp_path: Path) -> None:
    model, told, expected = made
    file, _ = EXPORTS["python"](model, tmp_path / "net", told)
    save_file({"images": images(5), "bytes": PIXELS}, tmp_path / "images")
    command = [sys.executable, "-c", ALONE, str(file), tmp_path / "images", tmp_path / "outputs"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert Seen.of(found[0]) == told.seen
    for one in found[3]:
        if "mask" in one:
            one["mask"] = torch.tensor(one["mask"], dtype=torch.uint8)
    check(found[3], expected)


def test_numbers_are_in_their_own_units(made: Made) -> None:
    _, told, expected = made
    if isinstance(told.task, Regression):
        assert abs(expected[0][NASTY[0]] - 100) < 60
        assert abs(expected[0][NASTY[3]] - 1000) < 20
