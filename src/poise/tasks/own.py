"""A task of one's own: any loss, and any metrics of torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from poise.engine.objective import Meter, Metric, Reduction
from poise.errors import Refused

if TYPE_CHECKING:
    import torchmetrics

LOSS = Metric("loss", higher_is_better=False)
"""What counts where there is no metric."""

LossFunction = Callable[[Any, Any], Tensor]
"""(outputs, targets) -> the mean over the batch, or one number per sample, ``[n]``."""


def described(name: str, metric: torchmetrics.Metric) -> Metric:
    """What is better, and whether it is a share, by what the metric says of itself. Raises `Refused` if it does not say
    which way is better."""
    better = getattr(metric, "higher_is_better", None)
    if better is None:
        raise Refused(
            f"metric {name!r} ({type(metric).__name__}) does not say what is better: its higher_is_better must be True "
            "or False"
        )
    bounds = (getattr(metric, "plot_lower_bound", None), getattr(metric, "plot_upper_bound", None))
    return Metric(name, better, share=bounds == (0, 1))


@dataclass(frozen=True)
class OwnObjective:
    """A loss and metrics that are given. Satisfies `poise.engine.objective.Objective`.

    A batch's mean counts as often as the batch has samples. If the loss is not a mean over samples, over all batches it
    is the mean of the batches' losses, weighted so.

    Args:
        function: the loss.
        given: metrics by name; the first one counts. Without any the loss does.
    """

    function: LossFunction
    given: Mapping[str, torchmetrics.Metric] = field(default_factory=dict)

    @property
    def metric(self) -> Metric:
        return self.metrics[0]

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(starmap(described, self.given.items())) or (LOSS,)

    def loss(self, outputs: Any, targets: Any, reduction: Reduction = "mean") -> Tensor:
        found = self.function(outputs, targets)
        if reduction == "mean":
            return found.mean()
        return found.sum() if found.ndim else self.count(targets) * found

    def count(self, targets: Any) -> int:
        return len(next(leaf for leaf in tree_leaves(targets) if isinstance(leaf, Tensor)))

    def derived(self, loss: float) -> dict[str, float]:
        return {}

    def running(self) -> Meter:
        return self._meter(dict(list(self.given.items())[:1]))

    def meter(self) -> Meter:
        return self._meter(self.given)

    @staticmethod
    def _meter(metrics: Mapping[str, torchmetrics.Metric]) -> Meter:
        from poise.engine.meters import TorchMeter

        return TorchMeter(metrics)

    def check(self, outputs: Any, targets: Any) -> None:
        """The loss must take them and give a number per batch or sample, and the metrics must take them."""
        with _explained("the loss"):
            found: Any = self.function(outputs, targets)
        count = self.count(targets)
        if not isinstance(found, Tensor) or found.shape not in ((), (count,)):
            seen = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise Refused(f"expected a loss that is a tensor [] or [{count}], got {seen}")
        for name, metric in self.given.items():
            with _explained(f"metric {name!r}"):
                self._meter({name: metric}).update(outputs, targets)


@contextmanager
def _explained(taker: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        text = " ".join(str(error).split())
        raise Refused(f"expected what {taker} takes ({type(error).__name__}: {text})") from None
