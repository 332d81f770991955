"""The cell networks' form for ImageNet: published sizes and costs, and the forward pass against a textbook one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from test_networks import DARTS_V2, PC_DARTS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from poise.costs.counting import cost_of, count
from poise.errors import Refused
from poise.genotype import Genotype
from poise.spaces import SPACES, Darts, ImageShape
from poise.spaces.cell_network import AuxiliaryHead, CellNetwork
from poise.spaces.forms import network_of
from poise.spaces.space import kept_of
from textbook.operations import (
    State,
    avg_pool,
    batch_norm,
    darts_operation,
    factorized_reduce,
    max_pool,
    relu_conv_norm,
)

IMAGENET = ImageShape(3, (224, 224), 1000)

P_DARTS = """Genotype(normal=[('skip_connect', 0), ('dil_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1),
('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 0), ('dil_conv_5x5', 4)], normal_concat=range(2, 6),
reduce=[('avg_pool_3x3', 0), ('sep_conv_5x5', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), ('max_pool_3x3', 0),
('dil_conv_3x3', 1), ('dil_conv_3x3', 1), ('dil_conv_5x5', 3)], reduce_concat=range(2, 6))"""

PC_DARTS_IMAGE = """Genotype(normal=[('skip_connect', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 0), ('skip_connect', 1),
('sep_conv_3x3', 1), ('sep_conv_3x3', 3), ('sep_conv_3x3', 1), ('dil_conv_5x5', 4)], normal_concat=range(2, 6),
reduce=[('sep_conv_3x3', 0), ('skip_connect', 1), ('dil_conv_5x5', 2), ('max_pool_3x3', 1), ('sep_conv_3x3', 2),
('sep_conv_3x3', 1), ('sep_conv_5x5', 0), ('sep_conv_3x3', 3)], reduce_concat=range(2, 6))"""


def build(text: str, auxiliary: bool = False) -> CellNetwork:
    with torch.device("meta"):
        return Darts().network(Genotype.parse(text), IMAGENET, auxiliary=auxiliary, form="imagenet").eval()


class Work(TorchFunctionMode):
    """Multiply-adds of convolutions and linear layers, and the values that normalisations and ReLUs put out."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", "")
        if name in ("conv2d", "linear"):
            self.counts["multiply-adds"] += result.numel() * args[1][0].numel()
        elif name in ("batch_norm", "relu"):
            self.counts[name] += result.numel()
        return result


def work(network: nn.Module) -> Counter[str]:
    counted = Work()
    with counted:
        network(torch.empty(1, 3, 224, 224, device="meta"))
    return counted.counts


@pytest.mark.parametrize(
    ("text", "parameters", "multiply_adds", "published"),
    [
        (DARTS_V2, 4_718_752, 529_911_552, (4.7, 544)),
        (PC_DARTS, 5_270_560, 571_137_408, (5.3, 586)),
        (PC_DARTS_IMAGE, 5_342_464, 581_627_328, (5.3, 597)),
        (P_DARTS, 4_944_352, 542_819_328, (4.9, 557)),
    ],
    ids=["DARTS_V2", "PC-DARTS", "PC-DARTS for ImageNet", "P-DARTS"],
)
def test_published_sizes_and_costs(
    text: str, parameters: int, multiply_adds: int, published: tuple[float, int]
) -> None:
    """At 48 channels and 14 cells, the default. The papers of P-DARTS and PC-DARTS count two for every normalised value
    and one for every ReLU as well. DARTS gives 574 million for the first; no counting that we tried comes to that."""
    network = build(text)
    found = work(network)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    assert round(parameters / 1e6, 1) == published[0]
    assert found["multiply-adds"] == multiply_adds
    assert round((multiply_adds + 2 * found["batch_norm"] + found["relu"]) / 1e6) == published[1]


def test_the_auxiliary_head_is_extra() -> None:
    lean, full = build(PC_DARTS), build(PC_DARTS, auxiliary=True)
    head = 768 * 128 + 2 * 128 + 128 * 768 * 4 + 768 * 1000 + 1000  # no normalisation of the 768
    assert sum(w.numel() for w in full.parameters()) - sum(w.numel() for w in lean.parameters()) == head
    shapes: list[torch.Size] = []
    full.cells[9].register_forward_hook(lambda module, arguments, output: shapes.append(output.shape))
    assert work(full)["multiply-adds"] == 571_137_408, "it is not there outside of training"
    assert shapes == [torch.Size((1, 4 * 192, 7, 7))], "the second reduction, which it reads"


def random_network(auxiliary: bool = False, cells: int = 4) -> CellNetwork:
    torch.manual_seed(0)
    rows = {kind: dict(rows) for kind, rows in Genotype.parse(PC_DARTS).choices.items()}
    lists = {kind: {row: list(names) for row, names in found.items()} for kind, found in rows.items()}
    network = CellNetwork(lists, 3, 5, 6, cells, auxiliary, form="imagenet").double().eval()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.3, 0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.3, 0.3)
    return network


def operation(state: State, name: str, kind: str, x: Tensor, stride: int) -> Tensor:
    """As it is retrained: pools have no normalisation."""
    if kind == "max_pool_3x3":
        return max_pool(x, stride)
    return avg_pool(x, stride) if kind == "avg_pool_3x3" else darts_operation(state, name, kind, x, stride, False)


def textbook(state: State, rows: Any, cells: int, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and what every cell puts out."""
    x = batch_norm(state, "stem.1", F.conv2d(images, state["stem.0.weight"], stride=2, padding=1), False)
    first = relu_conv_norm(state, "stem.2", x, 3, 2, False)
    second = relu_conv_norm(state, "second", first, 3, 2, False)
    shrunk, seen = True, []
    for index in range(cells):
        reduction = index in (cells // 3, 2 * cells // 3)
        name = f"cells.{index}"
        if shrunk:
            nodes = [factorized_reduce(state, f"{name}.first", first, False)]
        else:
            nodes = [relu_conv_norm(state, f"{name}.first", first, 1, 1, False)]
        nodes.append(relu_conv_norm(state, f"{name}.second", second, 1, 1, False))
        for node in range(2, 6):
            terms = [
                operation(
                    state, f"{name}.edges.{row}.{kind}", kind, nodes[source], 2 if reduction and source < 2 else 1
                )
                for source in range(node)
                for row in [f"{source}->{node}"]
                for kind in rows["reduce" if reduction else "normal"].get(row, [])
            ]
            assert len(terms) == 2
            nodes.append(terms[0] + terms[1])
        first, second, shrunk = second, torch.cat(nodes[2:], dim=1), reduction
        seen.append(second)
    return second.mean(dim=(2, 3)) @ state["classifier.weight"].T + state["classifier.bias"], seen


@pytest.mark.parametrize("size", [(64, 64), (70, 49)])
def test_forward_is_the_textbook_s(size: tuple[int, int]) -> None:
    network = random_network()
    images = torch.randn(2, 3, *size, dtype=torch.float64)
    outputs: list[Tensor] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, arguments, output: outputs.append(output))
    with torch.no_grad():
        logits = network(images)
        expected, seen = textbook(network.state_dict(), network.arguments["cell_rows"], 4, images)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)
    assert torch.equal(logits, network.heads(images)[0])
    eighth = tuple(-(-side // 8) for side in size)
    assert [tuple(output.shape[2:]) for output in outputs[:4]] == [tuple(each.shape[2:]) for each in seen]
    assert tuple(outputs[0].shape[2:]) == eighth


def test_the_auxiliary_head_pools_7x7_as_published() -> None:
    """7×7, which is 224 halved five times, -> 2×2 by 5×5 windows of stride 2, after a ReLU."""
    network = random_network(auxiliary=True)
    head = network.auxiliary
    assert isinstance(head, AuxiliaryHead)
    x = torch.randn(2, 48 * 2, 7, 7, dtype=torch.float64)
    relu = x.clamp(min=0)
    pooled = torch.stack(
        [torch.stack([relu[:, :, i : i + 5, j : j + 5].mean(dim=(2, 3)) for j in (0, 2)], dim=2) for i in (0, 2)], dim=2
    )
    squeeze, norm, _, spread, last, _ = head.features
    assert isinstance(last, nn.Identity)
    hidden = F.conv2d(pooled, squeeze.weight)
    hidden = F.relu(batch_norm({f"n.{k}": v for k, v in norm.state_dict().items()}, "n", hidden, False))
    hidden = F.relu(torch.einsum("nchw,dchw->nd", hidden, spread.weight))
    expected = hidden @ head.classifier.weight.T + head.classifier.bias
    torch.testing.assert_close(head(x), expected)
    side = network.heads(torch.randn(2, 3, 64, 64, dtype=torch.float64))[1]
    assert side is not None
    assert side.shape == (2, 5)


def test_forms_that_do_not_exist_are_refused() -> None:
    darts, bench = Darts(), SPACES["nasbench201"]()
    cell = Genotype.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    size: dict[str, Any] = {"channels": 4, "cells": 3, "auxiliary": False}
    with pytest.raises(Refused, match="'imagnet'; did you mean 'imagenet'"):
        darts.network(Genotype.parse(PC_DARTS), IMAGENET, form="imagnet")
    with pytest.raises(Refused, match="at least 2 channels"):
        darts.network(Genotype.parse(PC_DARTS), IMAGENET, channels=1, cells=3, form="imagenet")
    with pytest.raises(Refused, match="one form only; leave"):
        network_of(bench, cell, IMAGENET, form="imagenet", **size)
    with pytest.raises(Refused, match="unknown form"):
        network_of(darts, Genotype.parse(PC_DARTS), IMAGENET, form="mobile", **size)


def test_the_form_is_asked_for_by_name() -> None:
    size: dict[str, Any] = {"channels": 4, "cells": 3, "auxiliary": False}
    genotype = Genotype.parse(PC_DARTS)
    with torch.device("meta"):
        names = [
            list(dict(network_of(Darts(), genotype, IMAGENET, form=form, **size).named_parameters()))
            for form in (None, "cifar", "imagenet")
        ]
    assert names[0] == names[1] != names[2]
    assert "second.conv.weight" in names[2]


def test_a_tiny_network_of_large_images_trains() -> None:
    """A strided 1×1 convolution of so few channels would end the process, see `FactorizedReduce`."""
    network = random_network().float().to(memory_format=torch.channels_last).train()
    images = torch.randn(4, 3, 224, 224).to(memory_format=torch.channels_last)
    network(images).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@pytest.mark.parametrize(("metric", "published"), [("macs", 529_911_552), ("parameters", 4_718_752)])
def test_cost_targets_count_the_form_that_is_retrained(metric: str, published: int) -> None:
    space, genotype = Darts(), Genotype.parse(DARTS_V2)
    assert cost_of(space, genotype, IMAGENET, metric, form="imagenet") == published
    summed = count(space, IMAGENET, metric, form="imagenet").of(kept_of(genotype, space.groups))
    assert summed == pytest.approx(published, rel=1e-12)
    assert cost_of(space, genotype, IMAGENET, metric) != published
    with pytest.raises(Refused, match="one form only"):
        count(SPACES["nasbench201"](), IMAGENET, metric, form="imagenet")  # type: ignore[call-arg]
