"""The mobile space: its form by independent arithmetic, and its supernet against its networks."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from poise.costs.counting import cost_of, count
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import SPACES, ImageShape
from poise.spaces.mobile_network import MOBILE_OPERATIONS, MobileNetwork, strides
from poise.spaces.space import genotype_of
from poise.supernet.groups import Kept, one_hot

MOBILE = SPACES["mobile"]
WIDTHS = [32] * 2 + [40] * 4 + [80] * 4 + [96] * 4 + [192] * 4 + [320]
HALVED = {224: (0, 1, 3, 7, 15), 128: (0, 1, 3, 7, 15), 96: (1, 3, 7, 15), 64: (1, 3, 7, 15), 32: (3, 7, 15)}
"""Size -> which of stem (0) and layers (1 to 19) halve it."""


def random_kept(seed: int) -> Kept:
    draw = random.Random(seed)
    return {g.name: tuple((draw.randrange(len(row.candidates)),) for row in g.rows) for g in MOBILE().groups}


def arithmetic(genotype: Genotype, size: int, classes: int) -> tuple[int, int]:
    """Multiply-adds and parameters of the published widths, written down from the papers' tables."""
    kept = {int(row): names[0] for rows in genotype.choices.values() for row, names in rows.items()}
    macs = parameters = 0

    def conv(inputs: int, outputs: int, kernel: int, side: int, depthwise: bool = False) -> None:
        nonlocal macs, parameters
        weights = outputs * kernel**2 * (1 if depthwise else inputs)
        macs += weights * side**2
        parameters += weights + 2 * outputs  # and the normalisation's

    halved = HALVED[size]
    side = size // 2 if 0 in halved else size
    conv(3, 32, 3, side)
    conv(32, 32, 3, side, True)
    conv(32, 16, 1, side)
    width = 16
    for layer, out in enumerate(WIDTHS, start=1):
        after = side // 2 if layer in halved else side
        name = kept[layer]
        if name != "skip_connect":
            kernel, inner = int(name[8]), int(name[-1]) * width
            conv(width, inner, 1, side)
            conv(inner, inner, kernel, after, True)
            conv(inner, out, 1, after)
        width, side = out, after
    conv(320, 1280, 1, side)
    return macs + 1280 * classes, parameters + 1280 * classes + classes


@pytest.mark.parametrize(("size", "classes"), [(32, 10), (224, 1000)])
def test_counts_are_those_of_the_arithmetic(size: int, classes: int) -> None:
    space, task = MOBILE(), ImageShape(3, (size, size), classes)
    costs = {metric: count(space, task, metric) for metric in ("macs", "parameters")}
    for seed in range(2):
        kept = random_kept(seed)
        genotype = genotype_of("mobile", kept, space.groups)
        macs, parameters = arithmetic(genotype, size, classes)
        assert costs["macs"].of(kept) == macs
        assert costs["parameters"].of(kept) == parameters
        assert cost_of(space, genotype, task, "macs") == macs
        assert cost_of(space, genotype, task, "parameters") == parameters


def test_strides_adapt_to_the_size() -> None:
    for size, halved in {**HALVED, 48: (3, 7, 15), 200: HALVED[224], 16: (7, 15), 8: (15,), 7: (), 1: ()}.items():
        found = strides(size)
        assert len(found) == 20
        assert tuple(place for place, stride in enumerate(found) if stride == 2) == halved
        assert set(found) <= {1, 2}


def test_groups() -> None:
    first, rest = MOBILE().groups
    assert [row.name for row in first.rows] == ["1", "3", "7", "11", "15", "19"]
    assert len(rest.rows) == 13
    assert first.shape == (6, 6)
    assert rest.shape == (13, 7)
    assert {row.candidates for row in rest.rows} == {(*first.rows[0].candidates, "skip_connect")}
    assert (rest.min_kept, rest.max_kept, first.min_kept, first.max_kept) == (1, 1, 1, 1)


def test_the_supernet_at_a_one_hot_mixture_is_the_network() -> None:
    size = 17
    space = MOBILE(channels=4)
    task = ImageShape(3, (size, size), 5)
    torch.manual_seed(0)
    supernet = space.supernet(task).double().train()
    images = torch.randn(2, 3, size, size, dtype=torch.float64)
    for seed in range(2):
        kept = random_kept(seed)
        found = space.network(genotype_of("mobile", kept, space.groups), task, channels=4)
        network = MobileNetwork(**{**found.arguments, "search": True}).double().train()  # type: ignore[arg-type]
        weights = {name: value for name, value in supernet.state_dict().items() if name in network.state_dict()}
        network.load_state_dict(weights)
        expected = network(images)
        torch.testing.assert_close(supernet(images, one_hot(kept, space.groups, images)), expected)
        torch.testing.assert_close(network.heads(images)[0], expected)
        assert network.heads(images)[1] is None


def test_drop_path_multiplies_what_a_bottleneck_adds() -> None:
    """One number for each image and bottleneck that adds its input; the others, and `first`, have none."""
    space = MOBILE(channels=4)
    task = ImageShape(3, (17, 17), 5)
    torch.manual_seed(0)
    network = space.network(genotype_of("mobile", random_kept(0), space.groups), task, channels=4).double().eval()
    images = torch.randn(2, 3, 17, 17, dtype=torch.float64)
    kept = torch.arange(2.0 * network.paths, dtype=torch.float64).view(-1, 2, 1, 1, 1)
    x, numbers = network.first(network.stem(images)), list(kept)
    for layer in network.layers:
        (operation,) = layer.children()
        added = getattr(operation, "residual", False)
        x = x + numbers.pop(0) * (operation(x) - x) if added else operation(x)
    assert not numbers
    expected = network.classifier(network.head(x).mean(dim=(2, 3)))
    torch.testing.assert_close(network.heads(images, kept)[0], expected, rtol=1e-10, atol=1e-10)
    assert network.paths > 3


def test_a_layer_is_the_weighted_sum_of_its_candidates() -> None:
    space = MOBILE(channels=4)
    torch.manual_seed(0)
    supernet = space.supernet(ImageShape(1, (8, 8), 2)).double().eval()
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    mixture = {g.name: torch.rand(1, *g.shape, dtype=torch.float64) for g in space.groups}
    rows = {int(row.name): mixture[g.name][0, i] for g in space.groups for i, row in enumerate(g.rows)}
    x = supernet.first(supernet.stem(images))
    for layer, modules in enumerate(supernet.layers, start=1):
        x = sum(p * module(x) for p, module in zip(rows[layer], modules.children(), strict=True))
    torch.testing.assert_close(supernet(images, mixture), supernet.classifier(supernet.head(x).mean(dim=(2, 3))))


@pytest.mark.parametrize(("stride", "outputs"), [(1, 3), (1, 5), (2, 3)])
def test_a_bottleneck_by_hand(stride: int, outputs: int) -> None:
    torch.manual_seed(0)
    block = MOBILE_OPERATIONS["mb_conv_5x5_e6"](3, outputs, stride, True).double()
    x = 20 * torch.randn(4, 3, 8, 8, dtype=torch.float64)
    w = dict(block.named_parameters())
    assert set(w) == {f"{part}.conv.weight" for part in ("expand", "depthwise", "project")}

    def norm(y: torch.Tensor) -> torch.Tensor:
        mean, var = y.mean(dim=(0, 2, 3), keepdim=True), y.var(dim=(0, 2, 3), unbiased=False, keepdim=True)
        return 4 * (y - mean) / (var + 1e-5).sqrt() if y.shape[1] == 18 else (y - mean) / (var + 1e-5).sqrt()

    for part in (block.expand, block.depthwise):  # so that what exceeds 6 is many
        part.norm = nn.Sequential(part.norm, Times(4.0))
    y = norm(F.conv2d(x, w["expand.conv.weight"])).clamp(0, 6)
    y = norm(F.conv2d(y, w["depthwise.conv.weight"], stride=stride, padding=2, groups=18)).clamp(0, 6)
    y = norm(F.conv2d(y, w["project.conv.weight"]))
    torch.testing.assert_close(block(x), x + y if (stride, outputs) == (1, 3) else y)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def test_refusals() -> None:
    space, task = MOBILE(), ImageShape(3, (8, 8), 2)
    genotype = genotype_of("mobile", random_kept(0), space.groups)
    with pytest.raises(Refused, match=r"19 layers.*got 3"):
        space.network(genotype, task, cells=3)
    with pytest.raises(Refused, match="no auxiliary head"):
        space.network(genotype, task, auxiliary=True)
    missing = {"first": genotype.choices["first"], "rest": dict(list(genotype.choices["rest"].items())[1:])}
    with pytest.raises(Refused, match="keeps 0 candidates"):
        space.check(Genotype("mobile", missing))
    with pytest.raises(Refused, match="unknown operation on 1 of 'first'"):
        space.check(
            Genotype("mobile", {**genotype.choices, "first": {**genotype.choices["first"], "1": ("skip_connect",)}})
        )
