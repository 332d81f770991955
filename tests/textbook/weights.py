"""Random states, and weights carried from a supernet to the discrete network that shares them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and running statistics in float64: what is read from the wrong place shows."""
    generator = torch.Generator().manual_seed(seed)
    module.double()
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("num_batches_tracked"):
                continue
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise * 0.5)
    return module


def live_nodes(rows: Mapping[str, list[str]]) -> list[int]:
    """The intermediate nodes that the inputs of a cell reach, by following edges until nothing new is found."""
    reached = {0, 1}
    while True:
        found = {int(row.split("->")[1]) for row, names in rows.items() if names and int(row.split("->")[0]) in reached}
        if found <= reached:
            return sorted(reached - {0, 1})
        reached |= found


def carry_cells(
    supernet: nn.Module, network: nn.Module, rows: Mapping[str, Mapping[str, list[str]]], cells: int
) -> None:
    """Give a DARTS network the supernet's weights by name; columns that read missing nodes are left out.

    The first convolution of cell ``i`` reads cell ``i − 2``, the second cell ``i − 1``, the classifier the last cell.
    """
    source = supernet.state_dict()
    kinds = ["reduce" if cell in (cells // 3, 2 * cells // 3) else "normal" for cell in range(cells)]
    result: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        given, read = source[name], None
        parts = name.split(".")
        if parts[0] == "cells" and parts[2] in ("first", "second") and parts[3] in ("conv", "even", "odd"):
            read = int(parts[1]) - (2 if parts[2] == "first" else 1)
        if name == "classifier.weight":
            read = cells - 1
        if name.startswith("classifier.projections.") and name.endswith(".weight"):  # a dense head: before a reduction
            read = (cells // 3 - 1, 2 * cells // 3 - 1, cells - 1)[int(parts[2])]
        if read is not None and read >= 0:
            width = given.shape[1] // 4
            kept = [node - 2 for node in live_nodes(rows[kinds[read]])]
            given = torch.cat([given[:, node * width : (node + 1) * width] for node in kept], dim=1)
        assert given.shape == value.shape, name
        result[name] = given
    network.load_state_dict(result)
