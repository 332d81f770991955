"""What a network's outputs are judged by. Everything that trains or measures a network is given one of these."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, TypeGuard, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from poise.engine.meters import precise
from poise.errors import Refused, unknown
from poise.supernet.processes import Processes

Reduction = Literal["mean", "sum"]


@dataclass(frozen=True)
class Metric:
    """A number that says how good outputs are.

    Args:
        name: as in records and results, such as ``accuracy``.
        higher_is_better: which way is better.
        share: whether it lies between 0 and 1, and is shown in percent.
    """

    name: str
    higher_is_better: bool = True
    share: bool = False


class Meter(Protocol):
    """Adds batches up into metrics, so that the size of the batches does not matter."""

    def update(self, outputs: Any, targets: Any) -> None:
        """One more batch. Does not wait for the device."""
        ...

    def compute(self) -> dict[str, float]:
        """The metrics of all batches so far, by name."""
        ...

    def state(self) -> dict[str, Any]:
        """What has been added up: nested dicts of tensors."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` gave."""
        ...


class Objective(Protocol):
    """Outputs come in a precision that is fit for a loss. What has a body here, a class that inherits this need not
    say."""

    @property
    def metric(self) -> Metric:
        """The metric that counts: selections, guards and the lines of epochs go by it."""
        return self.metrics[0]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All that `meter` measures, the one that counts first; ``NAME`` stands for ``NAME/...``, too."""
        ...

    def loss(self, outputs: Any, targets: Any, reduction: Reduction = "mean") -> Tensor:
        """The scalar to descend: over what the batch predicts, the mean or the sum."""
        ...

    def count(self, targets: Any) -> Tensor | int:
        """Over how much the mean is taken: ``loss(..., "sum") = count · loss(..., "mean")``."""
        ...

    def derived(self, loss: float) -> dict[str, float]:
        """What else a mean loss is called, by name."""
        return {}

    def running(self) -> Meter:
        """A fresh meter of the metric that counts, cheap enough for every step."""
        return self.meter()

    def meter(self) -> Meter:
        """A fresh meter of all metrics."""
        ...

    def check(self, outputs: Any, targets: Any) -> None:
        """Raise `Refused` unless outputs have the form that these targets need."""
        ...


class Deciding(Objective, Protocol):
    """An objective of predictions that are right or wrong, each by itself; its metric is the share that is right."""

    def hits(self, outputs: Any, targets: Any) -> Tensor:
        """Which predictions are right: ``[predictions]``, bool."""
        ...


def decides(objective: Objective) -> TypeGuard[Deciding]:
    """Whether an objective satisfies `Deciding`."""
    return hasattr(objective, "hits")


def metric_of(objective: Objective, name: str) -> Metric:
    """The objective's metric of this name. Raises `Refused` if there is none."""
    for metric in objective.metrics:
        if metric.name in (name, name.partition("/")[0]):
            return replace(metric, name=name)
    raise unknown("metric", name, [metric.name for metric in objective.metrics])


def mean_loss(objective: Objective, outputs: Any, targets: Any, processes: Processes) -> Tensor:
    """The mean loss of a whole batch, the same in every process: ``Σ_r sum_r / count``. ``outputs`` are those of this
    process's rows, ``targets`` those of all."""
    if processes.alone:
        return objective.loss(outputs, targets)
    return processes.whole(objective.loss(outputs, processes.part(targets), "sum") / objective.count(targets))


def uneven(objective: Objective, targets: Any) -> Tensor | None:
    """How much a batch counts beside others of its size; None where all count the same."""
    count = objective.count(targets)
    return count if isinstance(count, Tensor) else None


ACCURACY = Metric("accuracy", share=True)


class HitMeter:
    """The share of hits, exactly: it counts in whole numbers. Satisfies `Meter`."""

    def __init__(self, objective: Deciding) -> None:
        self._objective = objective
        self._hits: Tensor | None = None
        self._count = 0

    def update(self, outputs: Any, targets: Any) -> None:
        found = self._objective.hits(outputs, targets)
        hits = found.sum()
        self._hits = hits if self._hits is None else self._hits.to(hits.device) + hits
        self._count += found.numel()

    def compute(self) -> dict[str, float]:
        if self._hits is None:
            return {}
        return {self._objective.metric.name: int(self._hits) / self._count}

    def state(self) -> dict[str, Any]:
        return {} if self._hits is None else {"hits": self._hits, "count": torch.tensor(self._count)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._hits, self._count = state.get("hits"), int(state.get("count", 0))


@dataclass(frozen=True)
class CrossEntropy(Deciding):
    """``−Σ_k q_k log p_k`` with ``p = softmax(outputs)`` and ``q = (1 − ε)·onehot(target) + ε/K``.

    Outputs are ``[n, K]``, targets ``[n]`` int64; ``label_smoothing`` is ε. A hit is a target with the largest output.
    Of ``words``, the perplexity is told as well.
    """

    label_smoothing: float = 0.0
    words: bool = False

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return (ACCURACY,)

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        return F.cross_entropy(outputs, targets, reduction=reduction, label_smoothing=self.label_smoothing)

    def count(self, targets: Tensor) -> int:
        return len(targets)

    def derived(self, loss: float) -> dict[str, float]:
        return {"perplexity": perplexity(loss)} if self.words else {}

    def hits(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.detach().argmax(dim=1) == targets

    def meter(self) -> Meter:
        return HitMeter(self)

    def check(self, outputs: Any, targets: Tensor) -> None:
        if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(targets):
            raise Refused(f"expected logits [{len(targets)}, classes]")


CLASSES = CrossEntropy()
"""Of one class each, without smoothing: what is measured by, and trained by, where nothing else is said."""

NEXT_WORD = CrossEntropy(words=True)
"""Of a text's next words."""

LARGEST_EXPONENT = 700.0
"""Of a perplexity: ``exp`` of more is no finite number."""


def perplexity(loss: float) -> float:
    """``exp`` of the mean cross-entropy in nats."""
    return math.exp(min(loss, LARGEST_EXPONENT))


@torch.no_grad()
def measured(answers: Iterable[tuple[Any, Any]], objective: Objective = CLASSES) -> dict[str, float]:
    """All metrics and the mean ``loss`` over all predictions of these batches of outputs and targets, the metric that
    counts first."""
    meter, loss, count = objective.meter(), cast(Any, 0.0), cast(Any, 0)
    for outputs, targets in answers:  # what it comes to stays on the device: no batch is waited for
        loss = loss + precise(objective.loss(outputs, targets, "sum"))
        counted = objective.count(targets)
        count = count + (precise(counted) if isinstance(counted, Tensor) else counted)
        meter.update(outputs, targets)
    mean = float(loss) / float(count) if count else 0.0
    return {**objective.derived(mean), **meter.compute(), "loss": mean}
