"""What is lost when the mixture becomes discrete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poise.diagnostics.diagnostic import Finding, Subject, diagnoses
from poise.engine.objective import decides
from poise.engine.streams import seed_of
from poise.selection.magnitude import by_magnitude
from poise.supernet.groups import expand, one_hot


@diagnoses()
@dataclass(frozen=True)
class Discretisation:
    """Accuracy and loss on the search half with the mixture and with the architecture that it becomes, weights as is.

    ``drop = accuracy(w, p) − accuracy(w, one-hot)`` and ``rise = loss(w, one-hot) − loss(w, p)``, over the whole search
    half with batch statistics, as selection rules measure. The architecture is the chosen one; while a search goes on,
    what magnitude would choose now. One-hot rows have weight 1, rows that it leaves out 0, weights of edges 1.

    Source: Wang et al., DARTS-PT (arXiv:2108.04392), section 3; RobustDARTS (arXiv:1909.09656), section 4.
    """

    kind: ClassVar[str] = "discretisation"
    per_epoch: ClassVar[bool] = True

    def steps(self, subject: Subject) -> int:
        return 2 * sum(1 for _ in subject.searcher.searching.ordered())

    @torch.no_grad()
    def __call__(self, subject: Subject) -> Finding:
        searcher = subject.searcher
        probabilities = searcher.probabilities()
        kept = by_magnitude(searcher.groups, probabilities) if subject.kept is None else subject.kept
        like = next(iter(probabilities.values()))
        mixtures = (expand(probabilities, searcher.groups), one_hot(kept, searcher.groups, like))
        sums = torch.zeros(2, 2, dtype=torch.float64)  # mixture: correct, loss
        objective, images = searcher.objective, 0
        assert decides(objective)
        for number, (batch, labels) in enumerate(searcher.searching.ordered()):
            if len(labels) == 1 and number > 0:
                continue  # batch statistics need more than one image
            images += len(labels)
            for mixture, total in zip(mixtures, sums, strict=True):
                loss = searcher.loss(batch, labels, seed_of(searcher.seed, "measure", number))
                value = float(loss(mixture))
                total += torch.tensor(
                    [float(objective.hits(loss.outputs, labels).sum()), value * len(labels)], dtype=torch.float64
                )
                subject.tick(1)
        (accuracy, loss_), (accuracy_discrete, loss_discrete) = (sums / images).tolist()
        return Finding(
            {
                "discretisation/accuracy": accuracy,
                "discretisation/accuracy_discrete": accuracy_discrete,
                "discretisation/drop": accuracy - accuracy_discrete,
                "discretisation/loss": loss_,
                "discretisation/loss_discrete": loss_discrete,
                "discretisation/rise": loss_discrete - loss_,
            }
        )
