"""P-DARTS's curriculum: its stages, what they keep, its warm-up and its dropout, against numbers worked by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from poise.errors import Refused
from poise.methods import METHODS, Blank, Method, NoCurriculum, Progressive, WarmUp
from poise.methods.slots import Progress
from poise.selection.magnitude import Magnitude
from poise.supernet.groups import ChoiceGroup, Row

NAMES = ("none", "max", "skip_connect", "sep")
GROUPS = (
    ChoiceGroup("normal", 2, (Row("a", NAMES), Row("b", NAMES))),
    ChoiceGroup("weights", 2, (Row("into", ("a", "b")),), scales=("normal", (0, 1))),
)


@pytest.mark.parametrize(
    ("epochs", "expected"), [(75, (25, 25, 25)), (76, (26, 25, 25)), (77, (26, 26, 25)), (3, (1, 1, 1))]
)
def test_epochs_are_divided(epochs: int, expected: tuple[int, ...]) -> None:
    assert Progressive().stages(epochs) == expected
    assert all(one.stages(epochs) == (epochs,) for one in (NoCurriculum(), WarmUp(), Blank()))


def test_what_is_kept() -> None:
    values = torch.tensor([[0.4, 0.1, 0.2, 0.3], [0.1, 0.4, 0.1, 0.4]])
    probabilities = {"normal": values, "weights": torch.tensor([[0.9, 0.1]])}
    curriculum = Progressive(candidates=(4, 3, 2))
    assert curriculum.keeps(probabilities, GROUPS, 1) == {
        "normal": {"a": ("none", "skip_connect", "sep"), "b": ("max", "skip_connect", "sep")}
    }, "the lowest goes, of equal ones the first; `none` is one like any other; nothing of the edges' weights"
    assert curriculum.keeps(probabilities, GROUPS, 2) == {"normal": {"a": ("none", "sep"), "b": ("max", "sep")}}
    assert Progressive(candidates=(8, 5, 3)).keeps(probabilities, GROUPS, 1) == {"normal": {"a": NAMES, "b": NAMES}}, (
        "where there are fewer all stay"
    )


def test_the_alphas_wait_in_every_stage() -> None:
    published = Progressive()
    for stage in range(3):
        moves = [published.trains_alphas(Progress(epoch, 25, stage)) for epoch in range(25)]
        assert moves == [False] * 10 + [True] * 15
    assert Progressive(warm_up=0.0).trains_alphas(Progress(0, 1))


def test_dropout_falls_within_a_stage() -> None:
    """The released code's: ``rate·(T − t − 1)/T`` in the 10 epochs of warm-up, then ``rate·exp(−0.2·(t − 10))``."""
    for stage, rate in enumerate((0.0, 0.4, 0.7)):
        found = [Progressive().skip_dropout(Progress(epoch, 25, stage)) for epoch in range(25)]
        expected = [rate * (25 - t - 1) / 25 if t < 10 else rate * math.exp(-(t - 10) * 0.2) for t in range(25)]
        assert found == pytest.approx(expected, rel=1e-12)
    assert Progressive().skip_dropout(Progress(25, 25, 2)) == pytest.approx(0.7 * math.exp(-3)), "while it is tuned"
    assert Progressive(decay=0.0).skip_dropout(Progress(3, 4, 1)) == 0.4
    assert NoCurriculum().skip_dropout(Progress(0, 1)) == 0.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"deeper": (0, 6)}, "one per stage; got 2, 3 and 3"),
        ({"deeper": (), "candidates": (), "skip_rates": ()}, "got 0, 0 and 0"),
        ({"deeper": (0, -1, 2)}, "at least 0; got"),
        ({"candidates": (8, 5, 6)}, "never become more"),
        ({"candidates": (8, 5, 1)}, "at least 2"),
        ({"skip_rates": (0.0, 0.4, 1.0)}, "below 1"),
        ({"skip_rates": (-0.1, 0.4, 0.5)}, "at least 0"),
        ({"warm_up": 1.0}, "a share"),
        ({"decay": -1.0}, "at least 0"),
        ({"decay": math.inf}, "at least 0"),
    ],
)
def test_senseless_values_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        Progressive(**fields)


def test_senseless_combinations_are_refused() -> None:
    method = Method(curriculum=Progressive())
    method.check(GROUPS, 3)
    with pytest.raises(Refused, match=r"curriculum=progressive: 2 epochs in 3 stages"):
        method.check(GROUPS, 2)
    with pytest.raises(Refused, match=r"leave a stage no epoch for the alphas"):
        Method(curriculum=Progressive(warm_up=0.9)).check(GROUPS, 12)
    with pytest.raises(Refused, match=r"at most 3 candidates per row, but the rows of 'normal' have 4"):
        Method(curriculum=Progressive(candidates=(3, 3, 2))).check(GROUPS, 12)
    assert method.trains_alphas(3)
    assert not Method(curriculum=Progressive(warm_up=0.9)).trains_alphas(9)


def test_the_preset() -> None:
    assert METHODS["p-darts"].build() == Method(curriculum=Progressive(), selection=Magnitude(skips=2))
