"""`torch.compile` takes a stacked cell as one graph, and computes the same."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poise.spaces.nasbench201 import NasBench201
from poise.spaces.space import ImageShape


def cell() -> tuple[nn.Module, Tensor, Tensor]:
    """A cell of a small supernet, its input, and a mixture that gradients flow to."""
    torch.manual_seed(0)
    space = NasBench201(channels=4, cells=1)
    found = space.supernet(ImageShape(3, (8, 8), 10)).double().cells[0]
    found.execution = "stacked"
    x, mixture = torch.randn(2, 4, 8, 8, dtype=torch.float64), torch.rand(space.groups[0].shape, dtype=torch.float64)
    return found, x, mixture.requires_grad_()


def computed(call: nn.Module, module: nn.Module, x: Tensor, mixture: Tensor) -> list[Tensor]:
    """Output, gradients and running statistics."""
    output = call(x, mixture)
    gradients = torch.autograd.grad(output.square().sum(), [mixture, *module.parameters()])
    return [output.detach(), *gradients, *module.buffers()]


def test_a_cell_is_one_graph() -> None:
    """Forward and backward."""
    torch.compiler.reset()
    (module, *rest), (twin, *_) = cell(), cell()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)
    for found, expected in zip(computed(compiled, module, *rest), computed(twin, twin, *rest), strict=True):
        assert torch.equal(found, expected)
