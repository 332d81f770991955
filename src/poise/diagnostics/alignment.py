"""Whether the layers want the same candidates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch

from poise.data.batched import Batched
from poise.diagnostics.diagnostic import Finding, Subject, diagnoses
from poise.engine.streams import seed_of
from poise.methods.alignment import aligned_groups, mean_alignment
from poise.supernet.trees import count_of


@diagnoses()
@dataclass(frozen=True)
class Alignment:
    """Λ, the mean cosine between the layers' gradients ``∂L/∂p_l``, on batches of both halves.

    The mean over batches of `mean_alignment`: of all pairs of layers of a group, then of the groups whose layers play
    the same part. Nothing is found where there is no such group. Every record of a search holds both numbers as means
    over the epoch's steps, in which the weights move; here they stand still, and images are not augmented.

    Source: Movahedi et al., Λ-DARTS (arXiv:2210.07998), section 3.
    """

    kind: ClassVar[str] = "alignment"
    per_epoch: ClassVar[bool] = False

    def steps(self, subject: Subject) -> int:
        return 6 * subject.batches

    def __call__(self, subject: Subject) -> Finding:
        names = aligned_groups(subject.searcher.groups)
        halves = {"train": subject.searcher.training, "search": subject.searcher.searching}
        if not names:
            subject.tick(self.steps(subject))
            return Finding({})
        return Finding({f"alignment/{half}": self._mean(subject, names, half, data) for half, data in halves.items()})

    def _mean(self, subject: Subject, names: list[str], half: str, data: Batched) -> float:
        searcher = subject.searcher
        weights = {name: weight.detach() for name, weight in searcher.weights.items()}
        found = []
        for number, (images, labels) in enumerate(islice(data.ordered(), subject.batches)):
            subject.tick(3)
            if count_of(labels) == 1 and number > 0:
                continue  # batch statistics need more than one image
            loss = searcher.loss(images, labels, seed_of(searcher.seed, "alignment", half, number))
            # A leaf of its own for every layer, not a view of shared alphas.
            mixture = {name: values.detach().clone().requires_grad_() for name, values in searcher.mixture().items()}
            layers = torch.autograd.grad(loss(mixture, weights), [mixture[name] for name in names])
            value = mean_alignment(dict(zip(names, layers, strict=True)), searcher.groups)
            assert value is not None, "there is an aligned group"
            found.append(float(value))
        return sum(found) / len(found)
