"""The size of NAS-Bench-101's networks: by hand, and as the benchmark's own notebook prints it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from poise.spaces.nasbench101 import OPERATIONS, Cell
from poise.spaces.nasbench101_network import NasBench101Network, vertex_channels

C3, C1, MP = OPERATIONS


@pytest.mark.parametrize(
    ("edges", "vertices", "channels", "expected"),
    [
        ({(0, 1), (1, 2), (2, 3)}, 4, 8, [8, 8]),
        ({(0, 1), (0, 2), (1, 3), (2, 3)}, 4, 7, [4, 3]),
        ({(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)}, 5, 9, [5, 5, 4]),
        ({(0, 1), (0, 4), (1, 2), (1, 3), (2, 4), (3, 4)}, 5, 8, [4, 4, 4]),
        ({(0, 1), (1, 2), (2, 3), (1, 4), (3, 5), (4, 5)}, 6, 11, [6, 6, 6, 5]),
    ],
)
def test_channels_by_hand(edges: set[tuple[int, int]], vertices: int, channels: int, expected: list[int]) -> None:
    matrix = [[int((source, target) in edges) for target in range(vertices)] for source in range(vertices)]
    assert vertex_channels(matrix, channels) == expected


def network_of(cell: Cell, image_channels: int, classes: int, channels: int, cells: int) -> NasBench101Network:
    matrix = [[int((s, t) in cell.edges) for t in range(cell.vertices)] for s in range(cell.vertices)]
    return NasBench101Network(matrix, list(cell.operations), image_channels, classes, channels, cells)


def test_parameters_of_the_inception_like_cell_are_the_benchmarks() -> None:
    """``trainable_parameters: 2694282`` is what the benchmark's own notebook prints for its example."""
    cell = Cell.of_matrix("0111010000000100000010000100000000100000010000000", f"input,{C1},{C3},{C3},{C3},{MP},output")
    with torch.device("meta"):
        network = network_of(cell, 3, 10, 128, 9)
    assert sum(weight.numel() for weight in network.parameters()) == 2_694_282


def test_parameters_of_a_chain_by_arithmetic() -> None:
    cell = Cell(frozenset({*pairwise(range(5)), (0, 4)}), (C3, MP, C1))

    def conv(a: int, b: int, kernel: int) -> int:
        return a * b * kernel**2 + 2 * b

    expected, before = conv(3, 128, 3) + 512 * 10 + 10, 128
    for index in range(9):
        width = 128 * 2 ** (index // 3)
        # the edge from the input, the two convolutions, the edge from input to output
        expected += conv(before, width, 1) + conv(width, width, 3) + conv(width, width, 1) + conv(before, width, 1)
        before = width
    with torch.device("meta"):
        network = network_of(cell, 3, 10, 128, 9)
    assert sum(weight.numel() for weight in network.parameters()) == expected
