"""`Choice`, `ModuleSupernet` and `ModuleSpace`: any module can be searched, and none is ever changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import ImageShape, ModuleSpace
from poise.spaces.space import genotype_of
from poise.supernet.choice import Choice, mixed_sum
from poise.supernet.groups import ChoiceGroup, Row
from poise.supernet.narrowing import without
from poise.supernet.observed import observed
from poise.supernet.supernet import ModuleSupernet

TASK = ImageShape(3, (2, 2), 4)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x


class Bomb(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("computed")


def activation(group: str | None = None) -> Choice:
    return Choice(named(), group)


def named() -> dict[str, nn.Module]:
    return {"relu": nn.ReLU(), "tanh": nn.Tanh(), "minus": Times(-1.0)}


def mlp(*groups: str | None) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Flatten()]
    for group in groups:
        layers += [nn.Linear(12, 12), activation(group)]
    return nn.Sequential(*layers, nn.Linear(12, 4)).double()


IMAGES = torch.randn(5, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


def by_hand(module: nn.Sequential, images: Tensor, rows: list[Tensor]) -> Tensor:
    """The multi-layer perceptron written out."""
    x, weights = images.flatten(1), iter(rows)
    for layer in module:
        if isinstance(layer, nn.Linear):
            x = x @ layer.weight.T + layer.bias
        elif isinstance(layer, Choice):
            p = next(weights)
            x = p[0] * x.clamp(min=0) + p[1] * torch.tanh(x) - p[2] * x
    return x


def test_mixed_sum() -> None:
    x = torch.tensor([1.0, -2.0])
    weights = torch.tensor([0.5, 0.25, 0.0])
    result = mixed_sum([Times(2.0), Times(-4.0), Times(100.0)], x, weights)
    assert torch.equal(result, torch.tensor([0.0, 0.0]))
    assert mixed_sum([Times(2.0), Times(3.0)], x, torch.tensor([1.0, -1.0])).tolist() == [-1.0, 2.0]


def test_weight_0_is_not_computed_without_a_gradient() -> None:
    x = torch.ones(2)
    modules = [Times(2.0), Bomb()]
    assert mixed_sum(modules, x, torch.tensor([1.0, 0.0])).tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="computed"):
        mixed_sum(modules, x, torch.tensor([1.0, 0.0], requires_grad=True))
    with pytest.raises(RuntimeError, match="computed"):
        mixed_sum(modules, x, torch.tensor([1.0, 1e-30]))


def test_all_weights_0_give_zeros() -> None:
    assert mixed_sum([Times(2.0), Times(3.0)], torch.ones(2, 3), torch.zeros(2)).tolist() == [[0.0] * 3] * 2


def test_weight_0_has_a_gradient() -> None:
    weights = torch.tensor([1.0, 0.0], requires_grad=True)
    mixed_sum([Times(2.0), Times(3.0)], torch.ones(4), weights).sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [8.0, 12.0]


def test_outside_a_search_a_choice_is_the_mean() -> None:
    assert Choice([Times(2.0), Times(4.0)])(torch.ones(1)).tolist() == [3.0]
    assert "mixture" not in activation().state_dict()


class Gives(nn.Module):
    """Whatever it is told to."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> object:
        return self.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.ones(2, 1), r"got \[2, 3\] float32 from 'fits' and \[2, 1\] float32 from 'other'"),
        (torch.ones(3), r"\[2, 3\] float32 from 'fits' and \[3\] float32 from 'other'"),
        (torch.tensor(1.0), r"\[2, 3\] float32 from 'fits' and \[\] float32 from 'other'"),
        (torch.ones(2, 3).double(), "float32 from 'fits' and .* float64 from 'other'"),
        (torch.ones(2, 3).bfloat16(), "float32 from 'fits' and .* bfloat16 from 'other'"),
        (torch.ones(2, 3).long(), r"'other' of a Choice puts out \[2, 3\] int64, expected floating point"),
        ((torch.ones(2, 3), None), "'other' of a Choice puts out a tuple of 2, expected a tensor"),
        ({"out": torch.ones(2, 3)}, "'other' of a Choice puts out a dict of 'out', expected a tensor"),
        (None, "'other' of a Choice puts out None, expected a tensor"),
    ],
)
def test_candidates_put_out_the_same_shape_and_dtype(value: object, message: str) -> None:
    layer = Choice({"fits": nn.Identity(), "other": Gives(value)})
    with pytest.raises(Refused, match=message):
        layer(torch.ones(2, 3))
    with pytest.raises(Refused, match="of a Choice"):
        Choice({"other": Gives(value), "fits": nn.Identity()})(torch.ones(2, 3))


def test_recurrent_candidates_are_refused_for_their_tuples() -> None:
    with pytest.raises(Refused, match="'gru' of a Choice puts out a tuple of 2"):
        Choice({"gru": nn.GRU(3, 3), "linear": nn.Linear(3, 3)})(torch.ones(2, 3))


def test_autocast_may_mix_precisions() -> None:
    layer = Choice({"short": nn.Linear(3, 3), "long": nn.LayerNorm(3)})
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.candidates["short"](torch.ones(2, 3)).dtype != layer.candidates["long"](torch.ones(2, 3)).dtype
        assert layer(torch.ones(2, 3)).dtype == torch.float32
        with pytest.raises(Refused, match="the same shape"):
            Choice({"short": nn.Linear(3, 1), "long": nn.LayerNorm(3)})(torch.ones(2, 3))


def test_numbers_without_dimensions_may_be_mixed() -> None:
    layer = Choice({"a": Times(2.0), "b": Times(4.0)})
    assert layer(torch.tensor(1.0)).item() == 3.0
    assert layer.half()(torch.tensor(1.0).half()).dtype == torch.float16


class Attends(nn.Module):
    """Several inputs, some by name."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = sign

    def forward(self, x: Tensor, context: Tensor, *, scale: float = 1.0, mask: Tensor | None = None) -> Tensor:
        found = self.sign * scale * (x + 10 * context)
        return found if mask is None else found * mask


def test_candidates_take_several_inputs_and_keywords() -> None:
    layer = Choice({"plus": Attends(1.0), "minus": Attends(-1.0)})
    x, context, row = torch.ones(2), torch.tensor([1.0, 2.0]), {"mixture": torch.tensor([0.75, 0.25])}
    for given, options, expected in (
        ((x, context), {}, [5.5, 10.5]),
        ((x,), {"context": context, "scale": 2.0}, [11.0, 21.0]),
        ((), {"x": x, "context": context, "mask": torch.tensor([1.0, 0.0])}, [5.5, 0.0]),
    ):
        assert torch.func.functional_call(layer, row, given, options).tolist() == expected
    with pytest.raises(TypeError, match="context"):
        layer(x)


def test_what_choices_were_called_with_is_seen() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = activation()
            self.attend = Choice([Attends(1.0), Attends(2.0)])
            self.never = activation()

        def forward(self, x: Tensor) -> Tensor:
            return self.attend(self.act(self.act(x)[:, :3]), x[:, :3], scale=0.5)

    module = Twice()
    with observed(module) as calls:
        module(torch.ones(2, 4))
    shapes = {path: [[list(value.shape) for value in call.inputs] for call in found] for path, found in calls.items()}
    assert shapes == {"act": [[[2, 4]], [[2, 3]]], "attend": [[[2, 3], [2, 3]]], "never": []}
    assert dict(calls["attend"][0].options) == {"scale": 0.5}
    module(torch.ones(2, 4))
    assert len(calls["act"]) == 2


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([nn.ReLU()], "at least two candidates, got 1"),
        ({}, "at least two candidates, got 0"),
        ({"none": nn.ReLU(), "b": nn.Tanh()}, "'none'"),
        ({"double": nn.ReLU(), "b": nn.Tanh()}, "'double'"),
        ({"a.b": nn.ReLU(), "b": nn.Tanh()}, "'a.b'"),
        ({"a b": nn.ReLU(), "b": nn.Tanh()}, "'a b'"),
        ([torch.relu, torch.tanh], "torch.nn.Module"),
    ],
)
def test_refused_choices(candidates: object, message: str) -> None:
    with pytest.raises(Refused, match=message):
        Choice(candidates)  # type: ignore[arg-type]


def test_groups_separate_and_shared() -> None:
    separate = ModuleSupernet(mlp(None, None)).groups
    names = ("relu", "tanh", "minus")
    assert separate == (
        ChoiceGroup("2", 1, (Row("choice", names),), min_kept=1, max_kept=1),
        ChoiceGroup("4", 1, (Row("choice", names),), min_kept=1, max_kept=1),
    )
    shared = ModuleSupernet(mlp("act", None, "act")).groups
    assert [(group.name, group.layers, group.shape) for group in shared] == [("act", 2, (1, 3)), ("4", 1, (1, 3))]


def test_the_supernet_is_the_formula() -> None:
    module = mlp("act", None, "act")
    supernet = ModuleSupernet(module)
    mixture = {
        "act": torch.tensor([[[0.2, 0.3, 0.5]], [[0.7, 0.1, 0.4]]], dtype=torch.float64).requires_grad_(),
        "4": torch.tensor([[[0.0, 1.0, 2.0]]], dtype=torch.float64).requires_grad_(),
    }
    copies = {name: value.detach().clone().requires_grad_() for name, value in mixture.items()}
    rows = [copies["act"][0, 0], copies["4"][0, 0], copies["act"][1, 0]]
    actual, expected = supernet(IMAGES, mixture), by_hand(module, IMAGES, rows)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    got = torch.autograd.grad(actual.square().sum(), [*mixture.values(), *module.parameters()])
    want = torch.autograd.grad(expected.square().sum(), [*copies.values(), *module.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    assert (got[0][0] - got[0][1]).abs().max() > 1e-3


def test_calls_do_not_influence_each_other() -> None:
    module = mlp(None)
    before, uniform = copy.deepcopy(module.state_dict()), module[2].mixture.clone()  # type: ignore[union-attr,operator]
    supernet = ModuleSupernet(module)
    one, other = (torch.tensor([[row]], dtype=torch.float64) for row in ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0]))
    first = supernet(IMAGES, {"2": one})
    second = supernet(IMAGES, {"2": other})
    assert not torch.allclose(first, second)
    assert torch.equal(first, supernet(IMAGES, {"2": one}))
    assert torch.equal(module[2].mixture, uniform)  # type: ignore[union-attr,arg-type]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(module(IMAGES), by_hand(module, IMAGES, [uniform]))


def test_a_call_that_fails_leaves_the_module_as_it_was() -> None:
    module = nn.Sequential(Choice({"a": nn.Identity(), "b": Bomb()}))
    with pytest.raises(RuntimeError, match="computed"):
        ModuleSupernet(module)(torch.ones(1), {"0": torch.tensor([[[0.0, 1.0]]])})
    assert module[0].mixture.tolist() == [0.5, 0.5]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Linear(2, 2)), "Sequential holds no poise.Choice"),
        (
            nn.Sequential(Choice([nn.ReLU(), nn.Tanh()], "g"), Choice([nn.ReLU(), nn.Tanh(), nn.GELU()], "g")),
            "'g' must",
        ),
        (nn.Sequential(Choice([nn.ReLU(), nn.Sequential(activation())])), "inside another Choice"),
        (Choice([nn.ReLU(), activation()]), "inside another Choice"),
        (nn.Sequential(Choice([nn.ReLU(), nn.Tanh()], "my group")), "the group of a Choice"),
    ],
    ids=["no choice", "different candidates", "nested", "nested in a bare choice", "bad group name"],
)
def test_refused_modules(module: nn.Module, message: str) -> None:
    with pytest.raises(Refused, match=message):
        ModuleSupernet(module)


def chosen(**groups: str) -> Genotype:
    return Genotype("custom", {group: {"choice": (name,)} for group, name in groups.items()})


def test_the_chosen_network_is_the_one_hot_supernet() -> None:
    module = mlp("act", None, "act")
    before = copy.deepcopy(module.state_dict())
    space = ModuleSpace(module)
    supernet = space.supernet(TASK)
    with torch.no_grad():
        next(iter(supernet.parameters())).add_(1.0)  # a copy: the module keeps its weights
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    genotype = chosen(act="minus", **{"4": "tanh"})
    network = space.network(genotype, TASK)
    assert not any(isinstance(layer, Choice) for layer in network.modules())
    rows = [torch.tensor(row, dtype=torch.float64) for row in ([0.0, 0, 1], [0.0, 1, 0], [0.0, 0, 1])]
    torch.testing.assert_close(network(IMAGES), by_hand(module, IMAGES, rows), rtol=1e-12, atol=1e-12)
    one_hot = {"act": torch.stack([rows[0], rows[2]])[:, None], "4": rows[1][None, None]}
    torch.testing.assert_close(network(IMAGES), ModuleSupernet(module)(IMAGES, one_hot), rtol=1e-12, atol=1e-12)
    assert all(isinstance(module[index], Choice) for index in (2, 4, 6))
    with torch.no_grad():
        next(iter(network.parameters())).add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert space.describe(genotype) == "4=tanh, act=minus"


def test_a_bare_choice_and_one_that_stands_twice() -> None:
    space = ModuleSpace(Choice({"a": Times(2.0), "b": Times(3.0)}))
    assert [group.name for group in space.groups] == ["choice"]
    assert space.network(chosen(choice="b"), TASK)(torch.ones(1)).tolist() == [3.0]
    layer = Choice({"a": Times(2.0), "b": Times(3.0)})
    twice = ModuleSpace(nn.Sequential(layer, layer))
    assert [(group.name, group.layers) for group in twice.groups] == [("0", 1)]
    assert twice.supernet(TASK)(torch.ones(1), {"0": torch.tensor([[[0.0, 1.0]]])}).tolist() == [9.0]
    network = twice.network(chosen(**{"0": "b"}), TASK)
    assert network(torch.ones(1)).tolist() == [9.0]
    assert not any(isinstance(module, Choice) for module in network.modules())


def test_refusals_of_the_module_space() -> None:
    space = ModuleSpace(mlp("act"))
    genotype = chosen(act="relu")
    for options in ({"channels": 8}, {"cells": 3}, {"auxiliary": True}, {"channels": 0}):
        with pytest.raises(Refused, match="its own size"):
            space.network(genotype, TASK, **options)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="did you mean 'tanh'"):
        space.check(chosen(act="tanhh"))
    with pytest.raises(Refused, match="keeps 0 candidates"):
        space.check(Genotype("custom", {"act": {}}))
    with pytest.raises(Refused, match="keeps 2 candidates"):
        space.check(Genotype("custom", {"act": {"choice": ("relu", "tanh")}}))
    with pytest.raises(Refused, match="groups act"):
        space.check(chosen(other="relu"))
    with pytest.raises(Refused, match="belongs to space 'darts'"):
        space.check(Genotype("darts", {"act": {"choice": ("relu",)}}))
    assert without(space.groups, ("none",)) == space.groups
    with pytest.raises(Refused, match="candidates of your own module are left out in the module, got relu"):
        without(space.groups, ("none", "relu"))
    assert genotype_of("custom", {"act": ((2,),)}, space.groups) == chosen(act="minus")


def test_a_grouped_row_needs_as_many_candidates() -> None:
    with pytest.raises(Refused, match="same number of candidates"):
        ChoiceGroup("g", 1, (Row("a", ("x", "y")), Row("b", ("x",))))
    with pytest.raises(Refused, match="same number of candidates"):
        ChoiceGroup("g", 1, ())
