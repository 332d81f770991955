"""The supernets, plain and slow: cell by cell, edge by edge, candidate by candidate, on a poise supernet's state dict.

Nothing is shared, skipped or batched: the oracle for `poise`'s supernets and for any faster execution of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.spaces import Darts, NasBench201
from textbook.operations import (
    State,
    batch_norm,
    darts_operation,
    factorized_reduce,
    nasbench201_operation,
    pointwise,
    relu_conv_norm,
)


def darts_cell(
    state: State,
    name: str,
    first: Tensor,
    second: Tensor,
    mixture: Tensor,
    candidates: Sequence[Sequence[str]],
    reduction: bool,
    halve_first: bool,
    training: bool,
) -> Tensor:
    """Nodes 2 to 5, each the sum over all earlier nodes of ``Σ_o p[edge, o]·o(node)``; their concatenation."""
    if halve_first:
        nodes = [factorized_reduce(state, f"{name}.first", first, training)]
    else:
        nodes = [relu_conv_norm(state, f"{name}.first", first, 1, 1, training)]
    nodes.append(relu_conv_norm(state, f"{name}.second", second, 1, 1, training))
    edge = 0
    for target in (2, 3, 4, 5):
        total: Tensor | float = 0.0
        for source in range(target):
            stride = 2 if reduction and source in (0, 1) else 1
            for column, operation in enumerate(candidates[edge]):
                place = f"{name}.edges.{source}->{target}.{operation}"
                output = darts_operation(state, place, operation, nodes[source], stride, training)
                total = total + mixture[edge, column] * output
            edge += 1
        assert isinstance(total, Tensor)
        nodes.append(total)
    return torch.cat([nodes[2], nodes[3], nodes[4], nodes[5]], dim=1)


def darts_supernet(
    state: State,
    images: Tensor,
    mixture: Mapping[str, Tensor],
    *,
    cells: int,
    candidates: Mapping[str, Sequence[Sequence[str]]],
    training: bool = True,
) -> Tensor:
    """Stem, cells with reductions at ⌊N/3⌋ and ⌊2N/3⌋, mean over pixels, linear.

    ``mixture``: ``normal`` and ``reduce``, each ``[layers, 14, candidates]``; ``candidates``: names in the same layout.
    """
    first = F.conv2d(images, state["stem.0.weight"], padding=1)
    first = second = batch_norm(state, "stem.1", first, training)
    layers = {"normal": 0, "reduce": 0}
    halve_first = False
    for cell in range(cells):
        reduction = cell == int(cells / 3) or cell == int(cells * 2 / 3)
        kind = "reduce" if reduction else "normal"
        output = darts_cell(
            state,
            f"cells.{cell}",
            first,
            second,
            mixture[kind][layers[kind]],
            candidates[kind],
            reduction,
            halve_first,
            training,
        )
        layers[kind] += 1
        first, second, halve_first = second, output, reduction
    assert all(layers[kind] == len(mixture[kind]) for kind in layers)
    pooled = second.sum(dim=(2, 3)) / (second.shape[2] * second.shape[3])
    return pooled @ state["classifier.weight"].T + state["classifier.bias"]


def nasbench201_cell(
    state: State, name: str, x: Tensor, mixture: Tensor, candidates: Sequence[Sequence[str]], training: bool
) -> Tensor:
    """Nodes 1 to 3, each the sum over all earlier nodes of ``Σ_o p[edge, o]·o(node)``; the last one."""
    nodes = [x]
    edge = 0
    for target in (1, 2, 3):
        total: Tensor | float = 0.0
        for source in range(target):
            for column, operation in enumerate(candidates[edge]):
                place = f"{name}.edges.{source}->{target}.{operation}"
                total = total + mixture[edge, column] * nasbench201_operation(
                    state, place, operation, nodes[source], training
                )
            edge += 1
        assert isinstance(total, Tensor)
        nodes.append(total)
    return nodes[3]


def ceil_mean_2x2(x: Tensor) -> Tensor:
    """The mean of every 2×2 block; at an odd border of the pixels that are there."""
    block = x.new_ones(x.shape[1], 1, 2, 2)
    pad = (0, x.shape[3] % 2, 0, x.shape[2] % 2)
    total = F.conv2d(F.pad(x, pad), block, stride=2, groups=x.shape[1])
    count = F.conv2d(F.pad(torch.ones_like(x), pad), block, stride=2, groups=x.shape[1])
    return total / count


def nasbench201_supernet(
    state: State,
    images: Tensor,
    mixture: Mapping[str, Tensor],
    *,
    cells: int,
    candidates: Sequence[Sequence[str]],
    training: bool = True,
) -> Tensor:
    """Stem, three stages of ``cells`` cells joined by residual blocks of stride 2, BN, ReLU, mean, linear."""
    x = batch_norm(state, "stem.1", F.conv2d(images, state["stem.0.weight"], padding=1), training)
    place = layer = 0
    for stage in range(3):
        if stage > 0:
            name = f"cells.{place}"
            body = relu_conv_norm(state, f"{name}.first", x, 3, 2, training)
            body = relu_conv_norm(state, f"{name}.second", body, 3, 1, training)
            x = body + pointwise(ceil_mean_2x2(x), state[f"{name}.shortcut.weight"])
            place += 1
        for _ in range(cells):
            x = nasbench201_cell(state, f"cells.{place}", x, mixture["cell"][layer], candidates, training)
            place, layer = place + 1, layer + 1
    x = F.relu(batch_norm(state, "norm", x, training))
    return (x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])) @ state["classifier.weight"].T + state["classifier.bias"]


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    trained = {name for name, _ in module.named_parameters()}
    return {name: value.detach().clone().requires_grad_(name in trained) for name, value in module.state_dict().items()}


def textbook(
    space: Darts | NasBench201, state: dict[str, Tensor], x: Tensor, mixture: object, training: bool
) -> Tensor:
    names = {group.name: [row.candidates for row in group.rows] for group in space.groups}
    if isinstance(space, NasBench201):
        return nasbench201_supernet(
            state,
            x,
            mixture,
            cells=space.cells,
            candidates=names["cell"],
            training=training,  # type: ignore[arg-type]
        )
    return darts_supernet(state, x, mixture, cells=space.cells, candidates=names, training=training)  # type: ignore[arg-type]
