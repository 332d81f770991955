"""The search loss as a function of all alphas in one vector."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from poise.engine.loss import BatchLoss
from poise.engine.searcher import Searcher
from poise.engine.streams import seed_of
from poise.errors import Refused
from poise.supernet.groups import Mixture, expand
from poise.supernet.trees import count_of


class SearchLoss:
    """``L_val(w, α)``: the mean over batches of the mean cross-entropy, with batch statistics and in full precision.

    The batches are the first ones of the search half in its order, not augmented. Every call sees the same batches and
    the same random numbers (dropout, noise), so that two values differ by the alphas alone. Nothing is updated.

    Args:
        searcher: whose supernet, alphas and data.
        batches: how many; those that the half has, if it has fewer.
        tick: is told the work: 1 for the loss of a batch, 3 for its gradient, 6 for a product with its Hessian.
    """

    def __init__(self, searcher: Searcher, batches: int, tick: Callable[[int], None] = lambda steps: None) -> None:
        self._searcher = searcher
        self._tick = tick
        self._losses = [
            searcher.loss(images, labels, seed_of(searcher.seed, "eigenvalue", number))
            for number, (images, labels) in enumerate(islice(searcher.searching.ordered(), batches))
            if count_of(labels) > 1 or number == 0  # batch statistics need more than one image
        ]
        self._weights = {name: weight.detach() for name, weight in searcher.weights.items()}
        self.sizes = {name: alphas.numel() for name, alphas in searcher.alphas.items()}
        self.point = torch.cat([values.detach().flatten() for values in searcher.alphas.values()])
        """The alphas as they are, group after group: ``[alphas]``."""

    def __len__(self) -> int:
        """Batches."""
        return len(self._losses)

    def _mixture(self, point: Tensor) -> Mixture:
        searcher = self._searcher
        parts = zip(searcher.alphas.items(), torch.split(point, list(self.sizes.values())), strict=True)
        relaxed = {name: searcher.method.relaxation(part.view_as(alphas)) for (name, alphas), part in parts}
        return expand(relaxed, searcher.groups)

    @torch.no_grad()
    def value(self, point: Tensor) -> float:
        """The loss at ``point [alphas]``."""
        mixture = self._mixture(point)
        total = 0.0
        for loss in self._losses:
            total += float(loss(mixture, self._weights, full_precision=True))
            self._tick(1)
        return total / len(self._losses)

    def gradient(self, point: Tensor) -> Tensor:
        """Its gradient at ``point``, ``[alphas]``."""
        leaf = point.detach().requires_grad_()
        total = torch.zeros_like(leaf)
        for loss in self._losses:
            mixture = self._mixture(leaf)
            total += torch.autograd.grad(loss(mixture, self._weights, full_precision=True), leaf)[0]
            self._tick(3)
        return total / len(self._losses)

    def product(self, point: Tensor, vector: Tensor) -> Tensor:
        """``Hv``, ``H`` the Hessian at ``point``, both ``[alphas]``: exact, by a second backward pass.

        Raises `Refused` for a supernet that has no second derivatives.
        """
        total = torch.zeros_like(point)
        for loss in self._losses:
            leaf, gradient = self._bent(loss, point)
            total += _again(gradient, leaf, vector)
            self._tick(9)
        return total / len(self._losses)

    def hessian(self, point: Tensor) -> Tensor:
        """``H`` at ``point``, ``[alphas, alphas]``, a column at a time. Raises `Refused` as `product` does."""
        total = point.new_zeros(len(point), len(point))
        for loss in self._losses:
            leaf, gradient = self._bent(loss, point)
            self._tick(3)
            for column, unit in zip(total, torch.eye(len(point)).to(point), strict=True):
                column += _again(gradient, leaf, unit)
                self._tick(6)
        return (total + total.T) / (2 * len(self._losses))

    def _bent(self, loss: BatchLoss, point: Tensor) -> tuple[Tensor, Tensor]:
        """A leaf at ``point``, and the gradient there as something that can be differentiated."""
        leaf = point.detach().requires_grad_()
        value = loss(self._mixture(leaf), self._weights, full_precision=True)
        gradient = torch.autograd.grad(value, leaf, create_graph=True)[0]
        _check_twice(gradient)
        return leaf, gradient


def _again(gradient: Tensor, leaf: Tensor, vector: Tensor) -> Tensor:
    if not gradient.requires_grad:
        return torch.zeros_like(leaf)  # a loss that is linear in the alphas
    return torch.autograd.grad(gradient, leaf, vector, retain_graph=True, materialize_grads=True)[0]


def _check_twice(gradient: Tensor) -> None:
    """Raise `Refused` where part of a gradient cannot be differentiated again: autograd would leave that part out."""
    nodes = [gradient.grad_fn]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if node is None:
            continue
        if "Error" in node.name() or "NotImplemented" in node.name():
            raise Refused(
                "this supernet cannot be differentiated twice, which its Hessian takes: an operation has a backward "
                "pass that can be taken only once; leave out spectrum and landscape"
            )
        following = {after for after, _ in node.next_functions} - seen
        seen |= following
        nodes += following
