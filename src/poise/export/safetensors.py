"""Weights and what they are for in one .safetensors file: no code in it, nothing to run when it is read."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save
from torch import nn

from poise.data.pixels import Pixels
from poise.export.exports import EXPORTS, input_facts, lean, target
from poise.genotype import Genotype
from poise.spaces.space import ImageShape


@EXPORTS.add("safetensors")
def export_safetensors(
    network: nn.Module, path: Path, *, shape: ImageShape, genotype: Genotype, classes: tuple[str, ...], pixels: Pixels
) -> list[Path]:
    """The network's `state_dict` (no auxiliary head); metadata ``genotype``, ``classes``, ``shape`` and ``input``, all
    JSON. ``0.mean`` and ``0.std`` normalise the input, what begins with ``1.`` is the network."""
    network = lean(network, shape, classes)
    file = target(path, ".safetensors")
    # cloned, because the format refuses tensors that share memory
    weights = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    file.write_bytes(save(weights, metadata=metadata(shape, genotype, classes, pixels)))
    return [file]


def metadata(shape: ImageShape, genotype: Genotype, classes: tuple[str, ...], pixels: Pixels) -> dict[str, str]:
    """What a file of weights says about itself, name -> JSON text."""
    facts = {"channels": shape.channels, "size": list(shape.size), "classes": shape.outputs}
    about = {"classes": list(classes), "task": facts, "input": input_facts(shape, pixels)}
    return {"genotype": genotype.to_json(), **{name: json.dumps(value) for name, value in about.items()}}
