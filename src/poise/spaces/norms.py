"""The batch normalisations of one pass through a cell of the execution `stacked`: over many candidates' channels at a
time.

Their running statistics move at the end of the pass, all in a few calls (`Norms.track`), as `torch.nn.BatchNorm2d`
moves them: towards the batch's mean and unbiased variance. All of a cell have the first one's eps and momentum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from poise.supernet.global_norm import normalised, processes_of, unbiasing


class _Seen(NamedTuple):
    """Statistics of a batch, ``[n · C]`` each, of ``size`` numbers per channel, and whose they are."""

    owners: Sequence[Sequence[nn.BatchNorm2d]]
    mean: Tensor
    inverse: Tensor
    size: int | Tensor


class Norms:
    """What is normalised in one pass; ``training``: by the batch's own statistics."""

    def __init__(self, training: bool) -> None:
        self.training = training
        self._seen: list[_Seen] = []

    def __call__(self, y: Tensor, norms: Sequence[nn.BatchNorm2d]) -> Tensor:
        """``y [batch, n · C, height, width]``, normalised by n modules."""
        return self.shared(y, [[norm] for norm in norms])

    def shared(self, y: Tensor, owners: Sequence[Sequence[nn.BatchNorm2d]]) -> Tensor:
        """The same, where several modules may see the same channels; in evaluation mode each has channels of its
        own."""
        modules = [norm for norms in owners for norm in norms]
        first = modules[0]
        if not self.training:
            means, variances = (torch.cat(values) for values in zip(*map(_running, modules), strict=True))
            return F.batch_norm(y, means, variances, eps=first.eps)
        size: int | Tensor = y.numel() // y.shape[1]
        if (processes := processes_of(first)).alone:
            out, mean, inverse = torch.native_batch_norm(y, None, None, None, None, True, 0.0, first.eps)
        else:
            out, mean, variance, size = normalised(y, first.eps, processes)
            inverse = torch.rsqrt(variance + first.eps)
        if first.track_running_stats:
            # Of bfloat16 a CPU gives statistics that are bfloat16 themselves.
            mean, inverse = (values.detach().to(_running(first)[0].dtype) for values in (mean, inverse))
            self._seen.append(_Seen(owners, mean, inverse, size))
        return out

    def track(self) -> None:
        """Move the running statistics."""
        if not self._seen:
            return
        moved = [norm for seen in self._seen for norms in seen.owners for norm in norms]
        running: list[Tensor] = []
        found: list[Tensor] = []
        with torch.no_grad():
            variances = torch._foreach_pow([seen.inverse for seen in self._seen], -2)
            torch._foreach_sub_(variances, moved[0].eps)
            for seen, variance in zip(self._seen, variances, strict=True):
                variance.mul_(unbiasing(seen.size))
            for (owners, mean, *_), variance in zip(self._seen, variances, strict=True):
                for norms, *statistics in zip(
                    owners, mean.chunk(len(owners)), variance.chunk(len(owners)), strict=True
                ):
                    for norm in norms:
                        running += _running(norm)
                        found += statistics
            torch._foreach_lerp_(running, found, moved[0].momentum or 0.1)
            torch._foreach_add_([norm.num_batches_tracked for norm in moved if norm.num_batches_tracked is not None], 1)


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
