"""The command line as a person uses it, in-process: exit code, standard output, standard error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from poise.cli.main import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


Poise = Callable[..., Outcome]

TINY = (
    "--preset=demo",
    "--set=space.channels=2",
    "--set=space.cells=3",
    "--set=search.epochs=1",
    "--set=search.images_per_half=32",
    "--set=search.batch_size=32",
)
"""A search of seconds."""

TINY_TRAIN = ("--channels=2", "--cells=3", "--epochs=1", "--set=train.batch_size=64", "--set=train.drop_path=0")
"""A retraining of seconds."""


@pytest.fixture
def poise(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Poise:
    """Run the command line in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A small learnable data set as a .npz file: 3 classes, 160 training and 40 test images of 8×8."""
    generator = np.random.default_rng(0)

    def split(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.arange(count) % 3
        pixels = generator.integers(0, 120, (count, 8, 8, 3))
        pixels[np.arange(count), 2 * labels] += 120
        return pixels.astype(np.uint8), labels

    x_train, y_train = split(160)
    x_test, y_test = split(40)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path
