"""The discrete network of NAS-Bench-201. Knows torch only: exports carry this code.

Source: Dong and Yang, NAS-Bench-201 (arXiv:2001.00326), section 2: a 3×3 stem, three stages of cells at 1, 2 and 4
times
the channels, joined by residual blocks of stride 2, then batch normalisation, ReLU, global pooling, linear.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.spaces.heads import head
from poise.spaces.operations import NASBENCH201_OPERATIONS, ReluConvNorm


class ResidualReduction(nn.Module):
    """Two 3×3 convolutions, the first of stride 2, beside average pooling and a 1×1 convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = ReluConvNorm(channels_in, channels_out, 3, 2, affine=True)
        self.second = ReluConvNorm(channels_out, channels_out, 3, 1, affine=True)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)) + self.shortcut(F.avg_pool2d(x, 2, ceil_mode=True))


class NasBench201Cell(nn.Module):
    """Node ``t`` is the sum over ``s < t`` of the operation of edge ``s->t`` applied to node ``s``; the last is the
    output."""

    def __init__(self, rows: dict[str, list[str]], channels: int, search: bool) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                row: nn.ModuleDict({n: NASBENCH201_OPERATIONS[n](channels, 1, search) for n in names})
                for row, names in rows.items()
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        states = [x]
        for target in range(1, 4):
            total = torch.zeros_like(x)
            for source in range(target):
                row = f"{source}->{target}"
                for operation in self.edges[row].children() if row in self.edges else ():
                    total = total + operation(states[source])
            states.append(total)
        return states[-1]


class NasBench201Network(nn.Module):
    """The network of a cell ``source->target`` -> operations, at ``channels`` (16) and ``cells`` per stage (5).

    ``dense``: whether it answers for every pixel, see `DenseHead`.
    """

    draws_nothing = True

    def __init__(
        self,
        cell_rows: dict[str, list[str]],
        image_channels: int,
        classes: int,
        channels: int,
        cells: int,
        search: bool = False,
        dense: bool = False,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, object] = {
            "cell_rows": cell_rows,
            "image_channels": image_channels,
            "classes": classes,
            "channels": channels,
            "cells": cells,
            "search": search,
            "dense": dense,
        }
        self.stem = nn.Sequential(
            nn.Conv2d(image_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.cells = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            if stage:
                self.cells.append(ResidualReduction(width // 2, width))
            self.cells.extend(NasBench201Cell(cell_rows, width, search) for _ in range(cells))
        self.norm = nn.BatchNorm2d(4 * channels)
        self.classifier = head((channels, 2 * channels, 4 * channels), classes, dense)

    def maps(self, images: Tensor) -> list[Tensor]:
        """The last feature maps of each resolution, the finest first: what the classifier goes by is the last."""
        x = self.stem(images)
        maps = []
        for cell in self.cells:
            if isinstance(cell, ResidualReduction):
                maps.append(x)
            x = cell(x)
        return [*maps, F.relu(self.norm(x))]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(self.maps(images), images.shape[2:])
