"""The supernets as the released implementations run them: edge by edge, candidate by candidate, channels first.

What a measurement compares with. It shares the modules of poise's supernet, so that both hold the same weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.errors import Refused
from poise.spaces.cells import EDGES, INCOMING, CellSupernet, MixedCell
from poise.spaces.nasbench201 import EDGES as BENCH_EDGES
from poise.spaces.nasbench201 import MixedCell as BenchCell
from poise.spaces.nasbench201 import NasBench201Supernet
from poise.supernet.choice import draws, mixed_sum
from poise.supernet.groups import Mixture


class Textbook(nn.Module):
    """A supernet of the DARTS cell spaces or of NAS-Bench-201, executed the plain way."""

    def __init__(self, supernet: nn.Module) -> None:
        super().__init__()
        if not isinstance(supernet, CellSupernet | NasBench201Supernet):
            raise Refused(f"there is no textbook version of {type(supernet).__name__}")
        self.supernet = supernet
        self.groups = supernet.groups
        self.draws_nothing = not draws(supernet)

    def forward(self, images: Tensor, mixture: Mixture) -> Tensor:
        net = self.supernet
        x = net.stem(images.contiguous())
        if isinstance(net, CellSupernet):
            first = second = x
            for cell, (group, layer) in zip(net.cells, net.layers, strict=True):
                assert isinstance(cell, MixedCell)
                first, second = second, _cell(cell, first, second, mixture[group][layer])
            logits: Tensor = net.classifier([second], images.shape[2:])
            return logits
        layers = iter(mixture[net.groups[0].name])
        for cell in net.cells:
            x = _bench_cell(cell, x, next(layers)) if isinstance(cell, BenchCell) else cell(x)
        logits = net.classifier([F.relu(net.norm(x))], images.shape[2:])
        return logits


def _cell(cell: MixedCell, first: Tensor, second: Tensor, mixture: Tensor) -> Tensor:
    states = [cell.first(first), cell.second(second)]
    edges = list(cell.edges.children())
    for rows in INCOMING:
        terms = [mixed_sum(edges[row].children(), states[EDGES[row][0]], mixture[row]) for row in rows]
        states.append(sum(terms[1:], terms[0]))
    return torch.cat(states[2:], dim=1)


def _bench_cell(cell: BenchCell, x: Tensor, mixture: Tensor) -> Tensor:
    states = [x]
    edges = list(cell.edges.children())
    for target in range(1, 4):
        rows = [row for row, (_, end) in enumerate(BENCH_EDGES) if end == target]
        terms = [mixed_sum(edges[row].children(), states[BENCH_EDGES[row][0]], mixture[row]) for row in rows]
        states.append(sum(terms[1:], terms[0]))
    return states[-1]
