"""Batch normalisation takes more than one image, or text, in a batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from poise.errors import Refused
from poise.spaces.space import Shape

ADVICE = "batch normalisation takes the statistics of more than one; take 2 or more"


def check_batch(size: int, setting: str, example: Shape, build: Callable[[Shape], object]) -> None:
    """Raise `Refused` for a batch of one in a network, made by ``build`` for an example, that normalises by batches.

    Where maps have a single pixel torch cannot compute that at all, and elsewhere it is another network than the one
    that is evaluated. No data is read and no memory taken: the network is made without its numbers.
    """
    if size > 1:
        return
    with torch.device("meta"):
        network = build(example)
    if isinstance(network, nn.Module) and any(isinstance(part, _BatchNorm) for part in network.modules()):
        raise Refused(f"{setting} is {size}, but {ADVICE}")
