"""Batch normalisations whose statistics are those of the whole batch, wherever its rows are.

    n = Σ_r n_r,   μ = Σ_r n_r μ_r / n,   v = (Σ_r n_r v_r + Σ_r n_r (μ_r − μ)²) / n

with the means and variances of each process's rows, which go in one message; its gradient takes another. Modules keep
their names, parameters and statistics, as by `torch.nn.SyncBatchNorm.convert_sync_batchnorm`; other than that one these
run on a CPU as well and can be differentiated twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from poise.supernet.processes import ALONE, Processes


class Normalised(NamedTuple):
    """Normalised values, and of the ``size`` values of each channel the mean and the biased variance, ``[C]``."""

    values: Tensor
    mean: Tensor
    variance: Tensor
    size: Tensor


def normalised(x: Tensor, eps: float, processes: Processes) -> Normalised:
    """``(x − μ) / √(v + eps)`` of ``x [rows, C, ...]``, over the rows of all processes."""
    wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    others, shape = [0, *range(2, x.dim())], (1, -1, *(1 for _ in x.shape[2:]))
    size = x.numel() // x.shape[1]
    mean = wide.sum(others) / max(size, 1)
    spread = (wide - mean.view(shape)).square().sum(others)
    each = processes.each(torch.cat((mean.new_full((1,), size), mean, spread)))
    counts, (means, spreads) = each[:, :1], each[:, 1:].chunk(2, dim=1)
    count = counts.sum()
    mean = (counts * means).sum(0) / count
    variance = (spreads + counts * (means - mean).square()).sum(0) / count
    values = (wide - mean.view(shape)) * torch.rsqrt(variance + eps).view(shape)
    return Normalised(values.to(x.dtype), mean.detach(), variance.detach(), count.detach())


class GlobalNorm(_BatchNorm):
    """What the global batch normalisations share; ``processes`` are those whose rows count."""

    processes: Processes = ALONE

    def forward(self, input: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        found = normalised(input, self.eps, self.processes)
        if self.training and self.track_running_stats:
            track(self, found)
        if not self.affine:
            return found.values
        shape = (1, -1, *(1 for _ in input.shape[2:]))
        return found.values * self.weight.view(shape) + self.bias.view(shape)


@torch.no_grad()
def track(norm: _BatchNorm, found: Normalised) -> None:
    """Move the running statistics as torch's own modules do: towards the mean and the unbiased variance."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share: Any = (1 / norm.num_batches_tracked).to(norm.running_mean) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(found.mean.to(norm.running_mean), share)
    unbiased = found.variance * unbiasing(found.size)
    norm.running_var.lerp_(unbiased.to(norm.running_var), share)


def unbiasing(count: int | Tensor) -> float | Tensor:
    """What makes a biased variance of so many values unbiased: ``n / (n − 1)``."""
    return count / ((count - 1).clamp(min=1) if isinstance(count, Tensor) else max(count - 1, 1))


class GlobalBatchNorm1d(GlobalNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` of the whole batch."""


class GlobalBatchNorm2d(GlobalNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` of the whole batch."""


class GlobalBatchNorm3d(GlobalNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` of the whole batch."""


_GLOBAL: Mapping[type[nn.Module], type[_BatchNorm]] = {
    nn.BatchNorm1d: GlobalBatchNorm1d,
    nn.BatchNorm2d: GlobalBatchNorm2d,
    nn.BatchNorm3d: GlobalBatchNorm3d,
}
_LOCAL: Mapping[type[nn.Module], Any] = {kind: plain for plain, kind in _GLOBAL.items()}


def globally(module: nn.Module, processes: Processes) -> nn.Module:
    """The module with torch's own batch normalisations replaced, in place, by those of the whole batch; as it is where
    one process has all of it."""
    return module if processes.alone else _replaced(module, _GLOBAL, processes)


def locally(module: nn.Module) -> nn.Module:
    """The module with torch's own batch normalisations in place again."""
    return _replaced(module, _LOCAL, ALONE)


def _replaced(module: nn.Module, kinds: Mapping[type[nn.Module], Any], processes: Processes) -> nn.Module:
    found = module
    if kind := kinds.get(type(module)):
        found = _like(module, kind, processes)
    for name, child in module.named_children():
        setattr(found, name, _replaced(child, kinds, processes))
    return found


def _like(norm: Any, kind: type[_BatchNorm], processes: Processes) -> _BatchNorm:
    """A normalisation of another kind that holds the very same tensors."""
    found = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, device="meta")
    for name, parameter in norm.named_parameters(recurse=False):
        found.register_parameter(name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        found.register_buffer(name, buffer)
    found.train(norm.training)
    if isinstance(found, GlobalNorm):
        found.processes = processes
    return found


def processes_of(norm: nn.Module) -> Processes:
    """Those whose rows a normalisation's statistics are of."""
    return norm.processes if isinstance(norm, GlobalNorm) else ALONE


@torch.no_grad()
def average_statistics(module: nn.Module, processes: Processes) -> None:
    """Give every process the mean of the running statistics of all, each of its own rows, in one bucket; those of the
    whole batch are the same already."""
    if processes.alone:
        return
    running = [
        values
        for norm in module.modules()
        if isinstance(norm, _BatchNorm) and processes_of(norm).alone
        for values in (norm.running_mean, norm.running_var)
        if values is not None
    ]
    for values, total in zip(running, processes.summed(running), strict=True):
        values.copy_(total / processes.count)
