"""The supernets, plain and slow: cell by cell, edge by edge, candidate by candidate, on a poise supernet's state dict.

Nothing is shared, skipped or batched: the oracle for `poise`'s supernets and for any faster execution of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.spaces import Darts, NasBench201
from poise.supernet.groups import ChoiceGroup
from textbook.operations import (
    State,
    batch_norm,
    darts_operation,
    factorized_reduce,
    nasbench201_operation,
    pointwise,
    relu_conv_norm,
)


def as_it_is(x: Tensor) -> Tensor:
    return x


def divided(x: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """The first of ``parts`` parts of the channels, and the rest."""
    width = x.shape[1] // parts
    return x[:, :width], x[:, width:]


def dealt_out(x: Tensor, parts: int) -> Tensor:
    """Channel ``j`` of part ``i`` becomes channel ``i`` of hand ``j``."""
    width = x.shape[1] // parts
    return torch.stack([x[:, part * width + place] for place in range(width) for part in range(parts)], dim=1)


def ceil_max_2x2(x: Tensor) -> Tensor:
    """The largest of every 2×2 block; at an odd border of the pixels that are there."""
    rows = [x[:, :, i : i + 2] for i in range(0, x.shape[2], 2)]
    return torch.stack(
        [torch.stack([row[..., j : j + 2].amax(dim=(2, 3)) for j in range(0, x.shape[3], 2)], dim=-1) for row in rows],
        dim=-2,
    )


def edge_weights(mixture: Mapping[str, Tensor], group: str, layer: int, nodes: Sequence[int]) -> list[Tensor]:
    """``β`` edge by edge, node by node; 1 for the only edge into a node."""
    found: list[Tensor] = []
    for node in nodes:
        name = f"{group}.{node}"
        found += list(mixture[name][layer, 0]) if name in mixture else [torch.ones((), dtype=torch.float64)]
    return found


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
    partial: int = 1,
    weights: Sequence[Tensor] | None = None,
    drop: Callable[[Tensor], Tensor] = as_it_is,
) -> Tensor:
    """Nodes 2 to 5, each the sum over all earlier nodes of ``Σ_o p[edge, o]·o(node)``; their concatenation.

    With partial channels, edge by edge: the operations see the first part, the rest is put beside, the channels are
    shuffled, the edge is weighted. ``drop`` is done to what skip connections of stride 1 put out.
    """
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
            part, rest = divided(nodes[source], partial)
            mixed: Tensor | float = 0.0
            for column, operation in enumerate(candidates[edge]):
                place = f"{name}.edges.{source}->{target}.{operation}"
                output = darts_operation(state, place, operation, part, stride, training)
                output = drop(output) if operation == "skip_connect" and stride == 1 else output
                mixed = mixed + mixture[edge, column] * output
            assert isinstance(mixed, Tensor)
            if partial > 1:
                assert weights is not None
                rest = ceil_max_2x2(rest) if stride == 2 else rest
                mixed = weights[edge] * dealt_out(torch.cat([mixed, rest], dim=1), partial)
            total = total + mixed
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
    partial: int = 1,
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
            partial,
            edge_weights(mixture, kind, layers[kind], (2, 3, 4, 5)) if partial > 1 else None,
        )
        layers[kind] += 1
        first, second, halve_first = second, output, reduction
    assert all(layers[kind] == len(mixture[kind]) for kind in layers)
    pooled = second.sum(dim=(2, 3)) / (second.shape[2] * second.shape[3])
    return pooled @ state["classifier.weight"].T + state["classifier.bias"]


def nasbench201_cell(
    state: State,
    name: str,
    x: Tensor,
    mixture: Tensor,
    candidates: Sequence[Sequence[str]],
    training: bool,
    partial: int = 1,
    weights: Sequence[Tensor] | None = None,
    drop: Callable[[Tensor], Tensor] = as_it_is,
) -> Tensor:
    """Nodes 1 to 3, each the sum over all earlier nodes of ``Σ_o p[edge, o]·o(node)``; the last one. Partial channels
    and ``drop`` as in `darts_cell`."""
    nodes = [x]
    edge = 0
    for target in (1, 2, 3):
        total: Tensor | float = 0.0
        for source in range(target):
            part, rest = divided(nodes[source], partial)
            mixed: Tensor | float = 0.0
            for column, operation in enumerate(candidates[edge]):
                place = f"{name}.edges.{source}->{target}.{operation}"
                output = nasbench201_operation(state, place, operation, part, training)
                mixed = mixed + mixture[edge, column] * (drop(output) if operation == "skip_connect" else output)
            assert isinstance(mixed, Tensor)
            if partial > 1:
                assert weights is not None
                mixed = weights[edge] * dealt_out(torch.cat([mixed, rest], dim=1), partial)
            total = total + mixed
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
    partial: int = 1,
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
            weights = edge_weights(mixture, "cell", layer, (1, 2, 3)) if partial > 1 else None
            own = mixture["cell"][layer]
            x = nasbench201_cell(state, f"cells.{place}", x, own, candidates, training, partial, weights)
            place, layer = place + 1, layer + 1
    x = F.relu(batch_norm(state, "norm", x, training))
    return (x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])) @ state["classifier.weight"].T + state["classifier.bias"]


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    trained = {name for name, _ in module.named_parameters()}
    return {name: value.detach().clone().requires_grad_(name in trained) for name, value in module.state_dict().items()}


def textbook(
    space: Darts | NasBench201,
    state: dict[str, Tensor],
    x: Tensor,
    mixture: object,
    training: bool,
    groups: Sequence[ChoiceGroup] = (),
) -> Tensor:
    """``groups``: what is left of the space's, if not all."""
    names = {group.name: [row.candidates for row in group.rows] for group in groups or space.groups}
    if isinstance(space, NasBench201):
        return nasbench201_supernet(
            state,
            x,
            mixture,
            cells=space.cells,
            candidates=names["cell"],
            training=training,  # type: ignore[arg-type]
            partial=space.partial,
        )
    return darts_supernet(
        state,
        x,
        mixture,  # type: ignore[arg-type]
        cells=space.cells,
        candidates=names,
        training=training,
        partial=space.partial,
    )
