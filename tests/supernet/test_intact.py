"""Candidates that work in place: every one sees the input as it came, and so does whoever else uses it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import ImageShape, ModuleSpace
from poise.spaces.normed import Source, mixed_node
from poise.supernet.choice import Choice, mixed_sum
from poise.supernet.intact import intact
from poise.supernet.supernet import ModuleSupernet

TASK = ImageShape(1, (2, 2), 2)
X = torch.tensor([[-1.0, 2.0]])


class Call(nn.Module):
    """A module made of a function."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        return self.function(*inputs, **options)


def first_column(x: Tensor) -> Tensor:
    x[:, :1].clamp_(min=0)
    return x


IN_PLACE: dict[str, nn.Module] = {
    "attribute": nn.ReLU(inplace=True),
    "nested": nn.Sequential(nn.Identity(), nn.Sequential(nn.ReLU(inplace=True))),
    "function": Call(lambda x: F.relu(x, inplace=True)),
    "method": Call(lambda x: x.clamp_(min=0)),
    "view": Call(lambda x: x.view(-1).relu_().view_as(x)),
    "part": Call(first_column),
    "without gradient": Call(lambda x: x.detach().clamp_(min=0) + 0 * x),
}


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("order", ["first", "last"])
def test_every_candidate_sees_the_input_as_it_came(name: str, order: str) -> None:
    named = {"writes": copy.deepcopy(IN_PLACE[name]), "id": nn.Identity()}
    layer = Choice(named if order == "first" else dict(reversed(named.items())))
    x = X.clone()
    for found in (layer(x), layer(x), layer.eval()(x), layer(x), copy.deepcopy(layer)(x)):
        assert found.tolist() == [[-0.5, 2.0]]
    with torch.inference_mode():
        assert layer(x).tolist() == [[-0.5, 2.0]]
        assert layer(X.clone()).tolist() == [[-0.5, 2.0]]
    row = torch.tensor([0.25, 0.75])
    expected = 0.75 if order == "first" else 0.25
    assert functional_call(layer, {"mixture": row}, (x,)).tolist() == [[-expected, 2.0]]
    assert torch.equal(x, X)


@pytest.mark.parametrize("name", IN_PLACE)
def test_gradients_are_those_of_candidates_that_do_not_work_in_place(name: str) -> None:
    def gradients(candidate: nn.Module) -> tuple[Tensor, ...]:
        row = torch.tensor([0.3, 0.7], dtype=torch.float64, requires_grad=True)
        x = X.double().requires_grad_()  # a leaf, which autograd lets nobody write into
        found = mixed_sum([candidate, nn.Identity()], x, row)
        return torch.autograd.grad(found.square().sum(), [row, x])

    expected = gradients(nn.ReLU())
    for _ in range(2):
        found = gradients(copy.deepcopy(IN_PLACE[name]))
        assert torch.equal(found[0], expected[0])
        if name != "without gradient":
            assert torch.equal(found[1], expected[1])


def test_all_inputs_are_spared_by_position_and_by_name() -> None:
    layer = Choice(
        {
            "writes": Call(lambda x, pair, scale: x.mul_(scale) + pair[0].add_(1) + pair[1]["deep"].mul_(0)),
            "reads": Call(lambda x, pair, scale: x * scale + pair[0] + pair[1]["deep"]),
        }
    )
    x, shift, deep = X.clone(), torch.ones(1, 2), torch.full((1, 2), 3.0)
    for _ in range(2):
        found = layer(x, (shift, {"deep": deep}), scale=2.0)
        assert found.tolist() == [[1.0, 7.0]]  # half of (2x + 2) and half of (2x + 4)
        assert layer(x=x, pair=(shift, {"deep": deep}), scale=2.0).tolist() == [[1.0, 7.0]]
    assert (x.tolist(), shift.tolist(), deep.tolist()) == ([[-1.0, 2.0]], [[1.0, 1.0]], [[3.0, 3.0]])


def test_what_is_given_twice_is_the_same_tensor_to_a_candidate() -> None:
    layer = Choice({"same": Call(lambda x, y: x * 0 + float(x.add_(1) is y)), "zero": Call(lambda x, y: x * 0)})
    assert layer(X, X).tolist() == [[0.5, 0.5]]


class Addresses(nn.Module):
    """Notes where its inputs lie."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.data_ptr())
        return 2 * x


def test_nothing_is_copied_for_those_that_do_not_write() -> None:
    noting = Addresses()
    layer = Choice({"noting": noting, "writes": nn.ReLU(inplace=True), "id": nn.Identity()})
    x = X.clone()
    for mode in (True, False):
        noting.seen.clear()
        layer.train(mode)
        for _ in range(3):
            layer(x)
        assert [address == x.data_ptr() for address in noting.seen] == [False, True, True, True]  # it is tried once


def test_one_that_writes_in_one_mode_only() -> None:
    layer = Choice({"drops": Call(lambda x: x), "id": nn.Identity()})
    drops = layer.candidates["drops"]
    assert isinstance(drops, Call)
    drops.function = lambda x: x.mul_(2) if drops.training else x
    x = X.clone()
    for _ in range(2):
        assert layer.eval()(x).tolist() == [[-1.0, 2.0]]
        assert layer.train()(x).tolist() == [[-1.5, 3.0]]
    assert torch.equal(x, X)


def test_one_that_begins_to_write_is_refused() -> None:
    layer = Choice({"a": nn.ReLU(), "id": nn.Identity()})
    layer(X)
    layer.candidates["a"].inplace = True
    with pytest.raises(Refused, match="ReLU writes into what it is given, which it did not at first"):
        layer(X.clone())


class Residual(nn.Module):
    """Uses what it hands to its `Choice`, and changes what it gets."""

    def __init__(self, candidate: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Linear(4, 4)
        self.layer = Choice({"it": candidate, "other": nn.Tanh()})
        self.head = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images.flatten(1))
        y = self.layer(x)
        y += 1
        y = F.relu_(y) * x
        return self.head(y + x)


CHOSEN = {**IN_PLACE, "identity": nn.Identity(), "dropout": nn.Dropout(0.5), "views": Call(lambda x: x.view(-1, 4))}


@pytest.mark.parametrize("name", CHOSEN)
def test_the_chosen_network_is_the_one_hot_supernet_to_the_last_bit(name: str) -> None:
    space = ModuleSpace(Residual(copy.deepcopy(CHOSEN[name])))
    images = torch.randn(3, 1, 2, 2)
    supernet = space.supernet(TASK).eval()
    network = space.network(Genotype("custom", {"layer": {"choice": ("it",)}}), TASK).eval()
    expected = supernet(images, {"layer": torch.tensor([[[1.0, 0.0]]])})
    for found in (network, copy.deepcopy(network)):
        assert torch.equal(found(images), expected)
    assert network.state_dict().keys() == {"stem.weight", "stem.bias", "head.weight", "head.bias"}
    other = space.network(Genotype("custom", {"layer": {"choice": ("other",)}}), TASK)
    assert not torch.equal(other(images), expected)


def test_a_chosen_layer_that_computes_something_new_gets_no_copy() -> None:
    for layer, copies in (
        (nn.Conv2d(4, 4, 1), False),
        (nn.ReLU(), False),
        (nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)), False),
        (nn.Sequential(nn.Identity(), nn.Linear(4, 4)), False),
        (nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 4)), True),
        (nn.Sequential(), True),
        (nn.Identity(), True),
        (nn.ReLU(inplace=True), True),
        (Call(lambda x: x), True),
    ):
        network = ModuleSpace(nn.Sequential(Choice({"a": layer, "b": nn.Tanh()}))).network(
            Genotype("custom", {"0": {"choice": ("a",)}}), TASK
        )
        assert bool(network[0]._forward_pre_hooks) == copies, layer  # type: ignore[index]


class Adds(nn.Module):
    """Writes into what its `Choice` puts out."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = Choice({"it": layer, "other": nn.Linear(4, 4)})

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        y += 1
        return y


@pytest.mark.parametrize(
    "layer",
    [nn.Tanh(), nn.Sequential(nn.Linear(4, 4), nn.Sigmoid()), Call(lambda x: x.exp()), nn.ReLU(inplace=True)],
)
def test_what_a_chosen_layer_puts_out_may_be_written_into(layer: nn.Module) -> None:
    genotype = Genotype("custom", {"layer": {"choice": ("it",)}})
    network = ModuleSpace(Adds(layer)).network(genotype, TASK)
    x = torch.randn(2, 4, requires_grad=True)
    found, expected = network(x), layer(x.clone()) + 1
    assert torch.equal(found, expected)
    (got,), (want,) = (torch.autograd.grad(value.square().sum(), x) for value in (found, expected))
    assert torch.equal(got, want)


def test_a_linear_layer_is_as_fast_as_without_a_choice() -> None:
    genotype = Genotype("custom", {"layer": {"choice": ("other",)}})
    other = ModuleSpace(Adds(nn.Tanh())).network(genotype, TASK).layer
    assert isinstance(other, nn.Linear)
    assert not other._forward_hooks
    assert not other._forward_pre_hooks


def test_a_supernet_leaves_its_images_alone() -> None:
    module = nn.Sequential(nn.ReLU(inplace=True), Choice({"a": nn.Tanh(), "id": nn.Identity()}))
    supernet, images = ModuleSupernet(module), X.clone()
    mixture = {"1": torch.tensor([[[0.0, 1.0]]])}
    for _ in range(2):
        assert supernet(images, mixture).tolist() == [[0.0, 2.0]]
    assert torch.equal(images, X)


def test_operations_of_others_in_a_cell_leave_its_nodes_alone() -> None:
    x = torch.randn(2, 3, 4, 4)
    source = Source(x.clone(), 1, training=True)
    edge = nn.ModuleList([nn.ReLU(inplace=True), nn.Tanh(), nn.Identity()])
    row = torch.tensor([[0.5, 0.25, 0.25]])
    for _ in range(2):
        found = mixed_node([(edge, source)], row)
        torch.testing.assert_close(found, 0.5 * x.clamp(min=0) + 0.25 * x.tanh() + 0.25 * x)
    assert torch.equal(source.x, x)


@pytest.mark.parametrize("made", [lambda x: x[:, :1], lambda x: (x,)])
def test_operations_of_others_put_out_what_their_edge_ends_in(made: Callable[[Tensor], Tensor]) -> None:
    source = Source(torch.randn(2, 3, 4, 4), 1, training=True)
    with pytest.raises(Refused, match=r"Call puts out .* on its edge, expected \[2, 3, 4, 4\]"):
        mixed_node([(nn.ModuleList([Call(made), nn.Tanh()]), source)], torch.tensor([[0.5, 0.5]]))


def test_being_tried_leaves_nothing_behind() -> None:
    """Neither in running statistics nor in random numbers, nor anywhere in what is computed."""
    norm, dropout = nn.BatchNorm1d(2), nn.Dropout(0.5)
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    intact(norm, x)
    assert norm.num_batches_tracked == 1
    assert torch.allclose(norm.running_mean, torch.tensor([0.2, 0.4]))
    torch.manual_seed(3)
    first = intact(dropout, x)
    torch.manual_seed(3)
    assert torch.equal(first, intact(dropout, x))
