"""What is lost when the mixture becomes discrete."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from poise.diagnostics.diagnostic import Finding, Subject, diagnoses
from poise.engine.streams import seed_of
from poise.selection.magnitude import by_magnitude
from poise.supernet.groups import expand, one_hot
from poise.supernet.trees import count_of


@diagnoses()
@dataclass(frozen=True)
class Discretisation:
    """Metric and loss on the search half with the mixture and with the architecture that it becomes, weights as is.

    ``drop = metric(w, p) − metric(w, one-hot)``, where lower is better the negative of that, and
    ``rise = loss(w, one-hot) − loss(w, p)``, over the whole search half with batch statistics, as selection rules
    measure. The metric is the one that counts, and its numbers have its name: ``accuracy`` and ``accuracy_discrete``.
    The architecture is the chosen one; while a search goes on, what magnitude would choose now. One-hot rows have
    weight 1, rows that it leaves out 0, weights of edges 1.

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
        objective = searcher.objective
        meters, losses, count = [objective.running() for _ in mixtures], [0.0, 0.0], 0.0
        for number, (batch, labels) in enumerate(searcher.searching.ordered()):
            if count_of(labels) == 1 and number > 0:
                continue  # batch statistics need more than one image
            weight = float(objective.count(labels))
            count += weight
            for index, mixture in enumerate(mixtures):
                loss = searcher.loss(batch, labels, seed_of(searcher.seed, "measure", number))
                losses[index] += float(loss(mixture)) * weight
                loss.count(meters[index])
                subject.tick(1)
        metric, (mean, discrete) = objective.metric, (loss / count for loss in losses)
        before, after = (
            {**meter.compute(), "loss": loss}[metric.name] for meter, loss in zip(meters, (mean, discrete), strict=True)
        )
        return Finding(
            {
                f"discretisation/{metric.name}": before,
                f"discretisation/{metric.name}_discrete": after,
                "discretisation/drop": before - after if metric.higher_is_better else after - before,
                "discretisation/loss": mean,
                "discretisation/loss_discrete": discrete,
                "discretisation/rise": discrete - mean,
            }
        )
