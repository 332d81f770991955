"""A supernet of your own module is a function of its inputs, whatever tree they are and whatever the module does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.supernet.choice import Choice
from poise.supernet.groups import Mixture
from poise.supernet.supernet import ModuleSupernet
from poise.supernet.trees import alike, arguments, called, mapped, others, tensors


class Pair(nn.Module):
    """Two inputs by position, or by name."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Choice({"one": nn.Linear(3, 2), "two": nn.Linear(3, 2)})

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.layer(x) * scale[:, None]  # type: ignore[no-any-return]


class Careless(nn.Module):
    """Changes everything that it is given: tensors in place, dicts and lists."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Choice({"one": nn.Linear(3, 2), "two": nn.Linear(3, 2)})

    def forward(self, **batch: Any) -> Tensor:
        parts = batch.pop("parts")
        x = batch["inner"].pop("x").add_(1.0)
        return self.layer(x) + parts.pop().float().mul_(2)[:, None]  # type: ignore[no-any-return]


def mixture(first: float) -> Mixture:
    return {"layer": torch.tensor([[[first, 1 - first]]])}


def test_arguments() -> None:
    x = torch.zeros(1)
    assert arguments(x) == ((x,), {})
    assert arguments((x, x)) == ((x, x), {})
    assert arguments({"a": x}) == ((), {"a": x})
    assert arguments([x]) == (([x],), {})


def test_trees() -> None:
    x, y = torch.zeros(1), torch.ones(1)
    tree = {"a": (x, [y]), "b": "text"}
    assert [each.item() for each in tensors(tree)] == [0, 1]
    assert others(tree) == ["text"]
    assert mapped(lambda values: values + 1, tree) == {"a": (x + 1, [y + 1]), "b": "text"}
    assert alike((x, [y]), (y, [x]))
    assert not alike((x, y), [x, y])
    assert not alike({"a": x}, {"b": x})


def test_a_tuple_and_a_dict_reach_the_module_alike() -> None:
    torch.manual_seed(0)
    module = Pair()
    supernet = ModuleSupernet(module)
    x, scale = torch.randn(4, 3), torch.tensor([0, 1, 2, 3])
    one, two = module.layer.candidates["one"], module.layer.candidates["two"]
    expected = (0.25 * one(x) + 0.75 * two(x)) * scale[:, None]
    torch.testing.assert_close(supernet((x, scale), mixture(0.25)), expected)
    torch.testing.assert_close(supernet({"scale": scale, "x": x}, mixture(0.25)), expected)
    torch.testing.assert_close(called(module, (x, scale)), (one(x) + two(x)) / 2 * scale[:, None])


def test_a_module_that_changes_its_inputs_leaves_the_batch_as_it_was() -> None:
    torch.manual_seed(0)
    supernet = ModuleSupernet(Careless())
    wide = torch.randn(3, 4)
    batch = {"inner": {"x": wide.T}, "parts": [torch.arange(4)]}  # x is not contiguous
    kept = wide.clone()
    first = supernet(batch, mixture(0.5))
    assert torch.equal(first, supernet(batch, mixture(0.5)))
    assert torch.equal(wide, kept)
    assert list(batch["inner"]) == ["x"]  # type: ignore[call-overload]
    assert batch["parts"][0].tolist() == [0, 1, 2, 3]  # type: ignore[index]


class Pops(nn.Module):
    """Takes an entry out of the dict that it is given, or puts another in its place."""

    def __init__(self, replaces: bool) -> None:
        super().__init__()
        self.replaces = replaces

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch.pop("x")
        if self.replaces:
            batch["x"] = x * 10
        return x + 0.0


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("first", [1.0, 0.5])
def test_a_candidate_that_changes_a_dict_does_so_for_itself_alone(replaces: bool, first: float) -> None:
    layer = Choice({"one": Pops(replaces), "two": Pops(replaces)})
    layer.mixture = torch.tensor([first, 1 - first])
    batch = {"x": torch.tensor([2.0])}
    for _ in range(2):
        assert layer(batch).tolist() == [2.0]
        assert batch["x"].tolist() == [2.0]
