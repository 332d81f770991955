"""The supernet of NAS-Bench-1Shot1: operations, block inputs and what reaches the output are mixtures.

Source: Zela, Siems, Hutter, NAS-Bench-1Shot1 (arXiv:2001.10422), section 3.1 and figure 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from poise.notations.matrix import OPERATIONS, OUTPUT, input_group
from poise.spaces.cell_network import reductions
from poise.spaces.nasbench101_network import NASBENCH101_OPERATIONS, ConvNormRelu, halved
from poise.spaces.operations import ReluConvNorm
from poise.spaces.space import ImageShape
from poise.supernet.choice import mixed_sum
from poise.supernet.groups import ChoiceGroup, Mixture, Row


class MixedCell(nn.Module):
    """A cell of n choice blocks.

    With ``x_0`` the cell's input, ``P`` its projections (1×1 convolution, batch normalisation, ReLU) and mixtures ``a``
    of operations, ``b`` of inputs and ``c`` of the output,

        x_k = Σ_o a[k, o] · o(b[k, 0] · P_k(x_0) + Σ_{1 ≤ j < k} b[k, j] · x_j),   k = 1 … n
        out = c[0] · P_out(x_0) + concat(c[1] · x_1, …, c[n] · x_n)

    where ``b[k, ·]`` is 1 for a block whose inputs are no choice. Every block has ``channels`` channels, the output n
    times as many.
    """

    def __init__(self, rows: Sequence[Row], channels_in: int, channels: int) -> None:
        super().__init__()
        self.channels_out = channels * len(rows)
        self.projections = nn.ModuleList(ConvNormRelu(channels_in, channels, 1) for _ in rows)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({name: NASBENCH101_OPERATIONS[name](channels, channels) for name in row.candidates})
            for row in rows
        )
        self.shortcut = ConvNormRelu(channels_in, self.channels_out, 1)

    def forward(self, x: Tensor, mixture: Mapping[str, Tensor]) -> Tensor:
        """``mixture`` is this layer's own: group -> ``[rows, candidates]``."""
        values: list[Tensor] = []
        blocks = zip(self.projections, self.blocks, mixture[OPERATIONS], strict=True)
        for block, (projection, candidates, weights) in enumerate(blocks, start=1):
            terms = [projection(x), *values]
            if input_group(block) in mixture:
                terms = _scaled(terms, mixture[input_group(block)][0])
            values.append(mixed_sum(candidates.children(), sum(terms[1:], terms[0]), weights))
        shortcut, *ends = _scaled([self.shortcut(x), *values], mixture[OUTPUT][0])
        return shortcut + torch.cat(ends, dim=1)


def _scaled(terms: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    return [weight * term for weight, term in zip(weights, terms, strict=True)]


class NasBench1Shot1Supernet(nn.Module):
    """``(images [batch, channels, height, width], mixture) -> logits [batch, classes]``: a 3×3 stem, cells, the size
    halved and the channels doubled at 1/3 and 2/3 of the depth, a 1×1 convolution, global pooling, linear."""

    draws_nothing = True

    def __init__(self, groups: tuple[ChoiceGroup, ...], shape: ImageShape, channels: int, cells: int) -> None:
        super().__init__()
        self.groups = groups
        (operations,) = (group for group in groups if group.name == OPERATIONS)
        self.stem = ConvNormRelu(shape.channels, channels, 3)
        self.halving = reductions(cells)
        self.cells = nn.ModuleList()
        channels_in, width = channels, channels
        for index in range(cells):
            width = 2 * width if index in self.halving else width
            cell = MixedCell(operations.rows, channels_in, width)
            self.cells.append(cell)
            channels_in = cell.channels_out
        self.last = ReluConvNorm(channels_in, width, 1, 1, affine=False)
        self.classifier = nn.Linear(width, shape.outputs)

    def forward(self, images: Tensor, mixture: Mixture) -> Tensor:
        x = self.stem(images)
        for index, cell in enumerate(self.cells):
            own = {group.name: mixture[group.name][index] for group in self.groups}
            x = cell(halved(x) if index in self.halving else x, own)
        logits: Tensor = self.classifier(self.last(x).mean(dim=(2, 3)))
        return logits
