"""Weights and what they are for in one .safetensors file: no code in it, nothing to run when it is read."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save
from torch import nn

from poise.export.card import Card
from poise.export.exports import EXPORTS, lean, target


@EXPORTS.add("safetensors")
def export_safetensors(network: nn.Module, path: Path, card: Card) -> list[Path]:
    """The network's `state_dict` (no auxiliary head); metadata ``genotype``, ``task``, ``labels`` and ``input``, all
    JSON. ``0.mean`` and ``0.std`` normalise the input, what begins with ``1.`` is the network."""
    network = lean(network, card)
    file = target(path, ".safetensors")
    # cloned, because the format refuses tensors that share memory
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    file.write_bytes(save(weights, metadata=card.metadata))
    return [file]
