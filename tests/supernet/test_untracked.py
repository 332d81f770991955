"""Calls that leave running statistics as they are: the same outputs, and no buffer moves, whatever holds it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from poise.supernet.normed_sum import Term, normed_sum
from poise.supernet.untracked import untracked


class Counting(nn.BatchNorm2d):
    """A normalisation of one's own, which does more with its buffers."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        return super().forward(x)


class Ending(nn.Module):
    """What a mixed cell ends in."""

    def __init__(self) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm2d(3, affine=False) for _ in range(2))

    def forward(self, x: Tensor) -> Any:
        return normed_sum([Term(x, None, norm) for norm in self.norms if isinstance(norm, nn.BatchNorm2d)])


MODULES = {
    "batch": lambda: nn.BatchNorm2d(3),
    "own": lambda: Counting(3),
    "instance": lambda: nn.InstanceNorm2d(3, track_running_stats=True),
    "spectral": lambda: nn.utils.spectral_norm(nn.Conv2d(3, 3, 1)),
    "sum": Ending,
    "several": lambda: nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Sequential(nn.BatchNorm2d(3), Counting(3))),
}


@pytest.mark.parametrize("kind", MODULES)
def test_a_call_moves_no_buffer_and_gives_what_a_tracked_one_gives(kind: str) -> None:
    torch.manual_seed(0)
    module, x = MODULES[kind](), torch.randn(4, 3, 5, 5)

    def buffers() -> dict[str, Tensor]:
        return {name: value.clone() for name, value in module.named_buffers()}

    before = buffers()
    with untracked(module) as copies:
        found = functional_call(module, copies, (x,))
        again = functional_call(module, copies, (x,))
    assert all(torch.equal(value, before[name]) for name, value in module.named_buffers())
    assert kind == "spectral" or torch.equal(found, again)
    assert torch.equal(module(x), found)
    assert any(not torch.equal(value, before[name]) for name, value in module.named_buffers()), "it tracks again"


def test_statistics_of_batch_normalisations_are_not_copied() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True))
    with untracked(module) as copies:
        assert set(copies) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_what_did_not_track_does_not_track_afterwards_even_on_an_error() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3), nn.BatchNorm2d(3).eval())
    with contextlib.suppress(ValueError), untracked(module):
        assert [part.track_running_stats for part in module] == [False, False, True]
        raise ValueError
    assert [part.track_running_stats for part in module] == [False, True, True]


def test_one_that_tracks_beside_one_that_does_not() -> None:
    x = torch.randn(4, 3, 5, 5)
    silent, moving, alone = (nn.BatchNorm2d(3, affine=False) for _ in range(3))
    silent.track_running_stats = False
    normed_sum([Term(x, None, silent), Term(2 * x, None, moving)])
    alone(2 * x)
    assert torch.equal(silent.running_var, torch.ones(3))
    torch.testing.assert_close(moving.running_var, alone.running_var)
    torch.testing.assert_close(moving.running_mean, alone.running_mean)
