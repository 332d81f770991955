"""No step of a search waits for the device, takes numbers from the host or draws, whatever fills the slots, in any
space. Every method of its own is watched on the published spaces by test_captured.py."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from typing import Any

import pytest
import torch
from engine_support import TASK, TEXT_TASK, searcher, text_searcher
from test_search_contract import FAMILIES, costs, tiny

from full import FULL
from poise.costs.costs import Aim
from poise.costs.target import CostTarget
from poise.engine.device_only import DeviceOnly
from poise.engine.search import SearchTrainer
from poise.engine.searcher import Epoch, Searcher
from poise.methods import (
    ExactAdversarialSmoothing,
    ExpectedCost,
    LayerAlignment,
    Method,
    NoCurriculum,
    Progressive,
    RandomSmoothing,
    Sigmoid,
    Sum,
    Unrolled,
    ZeroOne,
)
from poise.methods.slots import Progress
from poise.spaces import SPACES, TextShape
from poise.spaces.space import shape_kind

HALFWAY = Epoch(Progress(1, 2), 0.05, ("search", 1))


def prepared(method: Method, name: str, execution: str) -> Searcher:
    """A search of a tiny space."""
    space: Any = tiny(name)
    groups = space.groups
    text = shape_kind(SPACES[name]) is TextShape
    torch.manual_seed(0)
    supernet = space.supernet(TEXT_TASK if text else TASK, groups)
    if "skip_dropout" not in signature(supernet.forward).parameters:
        method = replace(method, curriculum=NoCurriculum())
    found: Searcher = (text_searcher if text else searcher)(method, supernet=supernet, count=4, execution=execution)
    found.aim = Aim(CostTarget("macs", 1.5), costs(groups))
    return found


def obstacles(found: Searcher) -> dict[str, str]:
    """What the second step on a batch does that does not stay on the device; the first makes what is made once."""
    trainer = SearchTrainer(found, lambda number: HALFWAY)
    batch = next(iter(trainer.begin(0, 0)))
    given = trainer._given(0, batch)
    for what in trainer._moves:
        found.announce(given, what)
    trainer.move(given)
    for draws in given.draws.values():
        draws.again()
    with DeviceOnly() as watch:
        trainer.move(given)
    return watch.found


EVERYTHING = Method(
    relaxation=Sigmoid(), perturbation=ExactAdversarialSmoothing(steps=1), alignment=LayerAlignment(required=False),
    hypergradient=Unrolled(), penalty=Sum((ZeroOne(), ExpectedCost())),
)  # fmt: skip
LITTLE = Method(perturbation=RandomSmoothing(), curriculum=Progressive(skip_rates=(0.5, 0.5, 0.5)))
"""Softmax, first order, noise and dropout."""


CASES = [
    pytest.param(space, method, id=f"{space}-{name}")
    for family in FAMILIES
    for place, (name, method) in ((0, ("everything", EVERYTHING)), (-1, ("little", LITTLE)))
    for space in ([*SPACES] if FULL else [[name for name in SPACES if issubclass(SPACES[name], family)][place]])
    if issubclass(SPACES[space], family)
]
"""Of a sample, everything in the first space of each family, and little in the last."""


@pytest.mark.parametrize(("space", "method"), CASES)
def test_no_step_leaves_the_device(space: str, method: Method) -> None:
    """The two executions take turns."""
    turn = list(SPACES).index(space) + (method is LITTLE)
    found = prepared(method, space, ("stacked", "normed")[turn % 2])
    assert obstacles(found) == {}
