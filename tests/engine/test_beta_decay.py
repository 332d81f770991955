"""A penalty sees alphas, their relaxation and the progress: β-decay, which needs first and last, is one slot."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from engine_support import DOUBLE, batches, searcher
from torch import Tensor

from poise.engine.events import ignore
from poise.engine.search import one_epoch
from poise.engine.searcher import Epoch
from poise.engine.streams import stream
from poise.methods import Method, Sum, ZeroOne
from poise.methods.slots import Progress, Relaxed


@dataclass(frozen=True)
class BetaDecay:
    """``weight · t/T · 1/N · Σ_e log Σ_o exp α[e, o]``, over all N rows; its gradient is a share of ``softmax(α)``.

    Source: Ye et al., β-DARTS: Beta-Decay Regularization for Differentiable Architecture Search (arXiv:2203.01665),
    section 3.2.
    """

    weight: float = 50.0
    kind: ClassVar[str] = "beta-decay"

    def __call__(self, relaxed: Relaxed) -> Tensor:
        rows = torch.cat([alphas.logsumexp(dim=-1) for alphas in relaxed.alphas.values()])
        return self.weight * relaxed.progress.epoch / relaxed.progress.epochs * rows.mean()

    def report(self, relaxed: Relaxed) -> Mapping[str, Any]:
        assert not any(alphas.requires_grad for alphas in relaxed.alphas.values())
        return {"beta_decay": float(self(relaxed))}


ALPHAS = {"shared": torch.tensor([[0.0, 1.0, 2.0]]).double(), "5": torch.tensor([[-0.5, 3.0, 1.0]]).double()}


@pytest.mark.parametrize("epoch", [0, 2, 4])
def test_beta_decays_gradient_is_that_of_exact_autograd(epoch: int) -> None:
    """Of one step in float64: of the search loss and the penalty together, and of the penalty by hand."""
    found = searcher(Method(penalty=Sum((BetaDecay(3.0), ZeroOne(2.0)))), place=DOUBLE, start=ALPHAS, size=12)
    net = copy.deepcopy(found.supernet)
    images, labels = next(batches(12, 12, 2, DOUBLE).epoch(stream(0, "search order", "search", epoch, 0)))
    leaves = {name: alphas.clone().requires_grad_() for name, alphas in ALPHAS.items()}

    def gradient(value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value, list(leaves.values()), retain_graph=True))

    rows = {name: alphas.softmax(-1) for name, alphas in leaves.items()}
    loss = F.cross_entropy(net(images, {g.name: rows[g.name].expand(g.layers, 1, 3) for g in found.groups}), labels)
    loss = loss - 2 * (torch.cat([values.flatten() for values in rows.values()]) - 0.5).square().mean()
    decay = 3 * epoch / 5 * torch.stack([alphas.exp().sum().log() for alphas in leaves.values()]).mean()

    record = one_epoch(found, Epoch(Progress(epoch, 5), 0.01, ("search", epoch)), ignore)
    both, alone = gradient(loss + decay), gradient(loss)
    for name, whole, without in zip(leaves, both, alone, strict=True):
        step = found.alphas[name].grad
        torch.testing.assert_close(step, whole, rtol=1e-10, atol=1e-12)
        by_hand = 3 * epoch / 5 / 2 * ALPHAS[name].softmax(-1)
        torch.testing.assert_close(step, without + by_hand, rtol=1e-10, atol=1e-12)
    after = torch.stack([alphas.detach().logsumexp(-1) for alphas in found.alphas.values()]).mean()
    assert record["beta_decay"] == pytest.approx(3 * epoch / 5 * float(after), rel=1e-12), "of the epoch's last alphas"
