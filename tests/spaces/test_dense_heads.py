"""Networks that answer for every pixel: the head by hand, supernet and network alike, forms, costs, refusals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poise.costs.counting import count, multiply_adds, own_parameters
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import SPACES, Darts, ImageShape, NasBench201, TextShape
from poise.spaces.cell_network import CellNetwork
from poise.spaces.everything import Everything
from poise.spaces.forms import network_of
from poise.spaces.heads import ClassHead, DenseHead, head
from poise.spaces.nasbench201_network import NasBench201Network
from poise.spaces.space import shape_kind
from poise.supernet.groups import searchable
from textbook.weights import carry_cells, randomise

SHAPE = ImageShape(3, (7, 9), 4, dense=True)

ROWS: dict[str, dict[str, list[str]]] = {  # node 3 has no input in normal cells, so their maps are narrower
    "normal": {"0->2": ["sep_conv_3x3"], "1->2": ["skip_connect"], "2->4": ["max_pool_3x3"], "1->5": ["dil_conv_3x3"]},
    "reduce": {"0->2": ["skip_connect"], "1->3": ["sep_conv_5x5"], "2->4": ["avg_pool_3x3"], "3->5": ["skip_connect"]},
}
CELL = {"0->1": ["nor_conv_3x3"], "0->3": ["skip_connect"], "1->3": ["avg_pool_3x3"]}


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """Pixel by pixel: pixels are squares, and beyond the outer middles values stay."""
    result = torch.zeros(*x.shape[:2], height, width, dtype=x.dtype)
    for row in range(height):
        for column in range(width):
            for (a, weight_a), (b, weight_b) in (
                (a, b) for a in around(row, x.shape[2], height) for b in around(column, x.shape[3], width)
            ):
                result[:, :, row, column] += weight_a * weight_b * x[:, :, a, b]
    return result


def around(index: int, side: int, wanted: int) -> list[tuple[int, float]]:
    place = min(max((index + 0.5) * side / wanted - 0.5, 0.0), side - 1.0)
    low = math.floor(place)
    return [(low, 1 - (place - low)), (min(low + 1, side - 1), place - low)]


def test_the_head_by_hand() -> None:
    torch.manual_seed(0)
    found = head((2, 3, 1), 4, dense=True).double()
    assert isinstance(found, DenseHead)
    maps = [torch.randn(2, *size, dtype=torch.float64) for size in ((2, 5, 7), (3, 3, 4), (1, 2, 2))]
    fine, middle, coarse = (
        torch.einsum("oc,nchw->nohw", project.weight[:, :, 0, 0], x) + project.bias[:, None, None]
        for project, x in zip(found.projections, maps, strict=True)
    )
    expected = bilinear(bilinear(coarse, 3, 4) + middle, 5, 7) + fine
    torch.testing.assert_close(found(maps, (5, 7)), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found(maps, (11, 13)), bilinear(expected, 11, 13), rtol=1e-12, atol=1e-12)


def test_the_other_head_reads_the_last_maps_alone() -> None:
    found = head((2, 3, 1), 4, dense=False)
    assert isinstance(found, ClassHead)
    x = torch.randn(2, 1, 2, 2)
    expected = found.weight[:, 0] * x.mean(dim=(1, 2, 3))[:, None] + found.bias
    torch.testing.assert_close(found([torch.zeros(0), torch.zeros(0), x], (5, 7)), expected)


def mixture_of(supernet: nn.Module, rows: Mapping[str, Mapping[str, list[str]]]) -> dict[str, Tensor]:
    """1 where the rows keep a candidate, found by name."""
    return {
        group.name: torch.tensor(
            [[float(name in rows[group.name].get(row.name, ())) for name in row.candidates] for row in group.rows],
            dtype=torch.float64,
        ).expand(group.layers, -1, -1)
        for group in supernet.groups
    }


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cells", [3, 4, 7])
def test_a_one_hot_supernet_of_cells_is_its_network(cells: int, training: bool) -> None:
    supernet = randomise(Darts(4, cells).supernet(SHAPE)).train(training)
    network = CellNetwork(ROWS, 3, 4, 4, cells, search=True, dense=True).double().train(training)
    carry_cells(supernet, network, ROWS, cells)
    images = torch.randn(3, 3, 7, 9, dtype=torch.float64)
    expected = supernet(images, mixture_of(supernet, ROWS))
    assert expected.shape == (3, 4, 7, 9)
    assert expected.std(dim=(2, 3)).min() > 0.01, "the same everywhere would prove nothing"
    for found in (network(images), network.heads(images)[0]):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("training", [True, False])
def test_a_one_hot_supernet_of_nasbench201_is_its_network(training: bool) -> None:
    supernet = randomise(NasBench201(4, 2).supernet(SHAPE)).train(training)
    network = NasBench201Network(CELL, 3, 4, 4, 2, search=True, dense=True).double().train(training)
    given = supernet.state_dict()
    network.load_state_dict({name: given[name] for name in network.state_dict()})
    images = torch.randn(3, 3, 7, 9, dtype=torch.float64)
    expected = supernet(images, mixture_of(supernet, {"cell": CELL}))
    assert expected.shape == (3, 4, 7, 9)
    assert expected.std(dim=(2, 3)).min() > 0.01
    torch.testing.assert_close(network(images), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_every_resolution_is_read(name: str, at: int) -> None:
    """Each has its part in the answer, the finest first."""
    torch.manual_seed(0)
    network: Any = SPACES[name]().network(genotype(name), SHAPE, channels=4, cells=3 if name == "darts" else 1).eval()
    images = torch.randn(1, 3, 7, 9)
    whole = network(images)
    seen = []
    network.classifier.projections[at].register_forward_hook(lambda _, given, __: seen.append(given[0].shape[2:]))
    with torch.no_grad():
        network.classifier.projections[at].weight.zero_()
    assert not torch.allclose(network(images), whole)
    assert seen == [[(7, 9), (4, 5), (2, 3)][at]]


def genotype(name: str) -> Genotype:
    rows: Any = {"nasbench201": {"cell": CELL}}.get(name, ROWS)
    return Genotype(name, {group: {row: tuple(names) for row, names in kept.items()} for group, kept in rows.items()})


def test_drop_path_works_with_it() -> None:
    network = Darts().network(genotype("darts"), SHAPE, channels=4, cells=3).train()
    images = torch.randn(4, 3, 7, 9)
    answer, side = network.heads(images, torch.arange(2.0).repeat(2 * network.paths).view(-1, 4, 1, 1, 1))
    assert answer.shape == (4, 4, 7, 9)
    assert side is None
    assert not torch.equal(answer, network.heads(images)[0])


def test_the_form_for_imagenet_comes_back_to_full_size() -> None:
    shape = ImageShape(3, (45, 37), 2, dense=True)
    network = Darts().network(genotype("darts"), shape, channels=4, cells=3, form="imagenet").eval()
    seen: list[Tensor] = []
    for project in network.classifier.projections:
        project.register_forward_hook(lambda *found: seen.append(found[2]))
    found = network(torch.randn(2, 3, 45, 37))
    fine, middle, coarse = seen
    assert [x.shape[2:] for x in seen] == [(6, 5), (3, 3), (2, 2)]
    torch.testing.assert_close(found, bilinear(bilinear(bilinear(coarse, 3, 3) + middle, 6, 5) + fine, 45, 37))


def test_an_auxiliary_head_is_refused() -> None:
    with pytest.raises(Refused, match=r"every pixel has no auxiliary head; set train.auxiliary to 0"):
        Darts().network(genotype("darts"), SHAPE, channels=4, cells=3, auxiliary=True)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_has_a_dense_head_or_says_which_have(name: str) -> None:
    space: Any = SPACES[name]()
    if getattr(space, "dense", False):
        sizes = {"channels": 4, "cells": 3}
        supernet: Any = SPACES[name](**sizes).supernet(SHAPE)  # type: ignore[arg-type]
        uniform = {g.name: torch.full((g.layers, *g.shape), 0.2) for g in supernet.groups}
        assert supernet(torch.randn(2, 3, 7, 9), uniform).shape == (2, 4, 7, 9)
        return
    text = f"networks of space '{name}' answer for whole images, not for every pixel; spaces that can: " + (
        "darts, nasbench201, s1, s2, s3, s4, and a module of your own"
    )
    with pytest.raises(Refused, match=text):
        space.supernet(SHAPE)
    if shape_kind(space) is not TextShape:
        kept = {g.name: {r.name: r.candidates[: max(1, g.min_kept)] for r in g.rows} for g in searchable(space.groups)}
        with pytest.raises(Refused, match=text):
            space.network(Genotype(name, kept), SHAPE)


def test_a_space_of_ones_own_that_says_nothing_is_refused() -> None:
    class Mine:
        name = "mine"

        def network(self, *_: Any, **__: Any) -> None:
            pytest.fail("asked for a network that it does not have")

    mine: Any = Mine()
    with pytest.raises(Refused, match="space 'mine' answer for whole images"):
        network_of(mine, genotype("darts"), SHAPE, form=None, channels=None, cells=None, auxiliary=False)


def test_costs_count_the_head() -> None:
    """Of 4 outputs on 8×12 images: 1×1 convolutions on 8×12, 4×6 and 2×3 pixels, where a class head has one matrix."""
    shapes = {dense: ImageShape(3, (8, 12), 4, dense) for dense in (True, False)}
    sizes = (96, 24, 6)
    for name, widths, cells in (("darts", (16, 32, 64), 3), ("nasbench201", (4, 8, 16), 1)):
        space: Any = SPACES[name]()
        by_hand = {
            "macs": sum(4 * width * size for width, size in zip(widths, sizes, strict=True)) - 4 * widths[2],
            "parameters": sum(4 * width + 4 for width in widths) - (4 * widths[2] + 4),
        }
        for metric, value in by_hand.items():
            dense, plain = (count(space, shapes[kind], metric, channels=4, cells=cells) for kind in (True, False))
            assert dense.fixed - plain.fixed == value
            assert all(torch.equal(dense.candidates[group], plain.candidates[group]) for group in plain.candidates)


def test_a_head_alone_is_counted() -> None:
    class Fed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = DenseHead((3, 3), 5)

        def forward(self, images: Tensor) -> Tensor:
            return self.head([images, images[:, :, ::2, ::2]], images.shape[2:])

    whole = Everything(Fed(), {})
    assert multiply_adds(whole, ImageShape(3, (5, 6), 5))[None] == 3 * 5 * (30 + 9)
    assert own_parameters(whole)[None] == 2 * (3 * 5 + 5)


def test_it_can_be_derived_twice() -> None:
    """Methods take second derivatives of the loss."""
    torch.manual_seed(0)
    found = DenseHead((2, 2), 2).double()
    maps = [torch.randn(1, 2, *size, dtype=torch.float64, requires_grad=True) for size in ((4, 5), (2, 3))]
    assert torch.autograd.gradgradcheck(lambda a, b: found([a, b], (4, 5)).square(), maps)
