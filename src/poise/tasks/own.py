"""A task of one's own: any loss, and any metrics of torchmetrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import starmap
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from poise.config.settings import RunSettings
from poise.data.labels import Anything, Seen
from poise.engine.objective import Meter, Metric, Objective, Reduction
from poise.engine.predict import Prediction
from poise.errors import Refused
from poise.spaces.space import SPACES
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS

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
class OwnObjective(Objective):
    """A loss and metrics that are given.

    A batch's mean counts as often as the batch has samples. If the loss is not a mean over samples, over all batches it
    is the mean of the batches' losses, weighted so.

    Args:
        function: the loss.
        given: metrics by name; the first one counts. Without any the loss does.
    """

    function: LossFunction
    given: Mapping[str, torchmetrics.Metric] = field(default_factory=dict)

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


@TASKS.add("own")
@dataclass(frozen=True)
class Own(Supervised):
    """Anything: a loss that is any function of outputs and targets, and any metrics of torchmetrics; in Python only.

    Data is arrays or a torch Dataset whose targets may be any tree of tensors; outputs are whatever the loss takes. A
    function cannot be saved: what goes on with a run, or uses its network, is given the task again.

    Args:
        loss: (outputs, targets) -> the mean over the batch, or one number per input.
        metrics: by name, of torchmetrics, called with outputs and targets; the first one counts. Without any the loss
            does.
        numbers: how many numbers a network of a space of poise puts out; a module of your own needs none.
    """

    loss: LossFunction | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    numbers: int = 0

    name: ClassVar[str] = "own"
    named: ClassVar[str] = "names"
    unused: ClassVar[tuple[str, ...]] = (*Supervised.unused, "search.label_smoothing", "train.label_smoothing")

    @property
    def facts(self) -> dict[str, Any]:
        """What a file says of it, to know it again."""
        return {"metrics": list(self.metrics), "numbers": self.numbers}

    @staticmethod
    def of_facts(facts: Mapping[str, Any]) -> Own:
        """What stands in for it where a run is only shown. Raises `Refused` if the facts are damaged."""
        names, numbers = facts.get("metrics"), facts.get("numbers")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or type(numbers) is not int:
            raise Refused("task own is for Python: pass task=poise.tasks.Own(loss, metrics)")
        return Own(None, dict.fromkeys(names), numbers)

    @property
    def labels(self) -> Anything:
        return Anything()

    @property
    def measures(self) -> tuple[Metric, ...]:
        return OwnObjective(_unsaid, self.metrics).metrics

    def outputs(self, seen: Seen) -> int:
        return self.numbers

    def check(self, settings: RunSettings) -> None:
        """Only networks of your own know by themselves how much to put out."""
        if self.loss is None:
            raise Refused("task own is for Python: pass task=poise.tasks.Own(loss, metrics)")
        _ = self.measures  # all of them say which way is better
        if not self.numbers and settings.space.name in SPACES:
            raise Refused(
                f"a network of space {settings.space.name!r} must know how many numbers to put out: "
                "poise.tasks.Own(loss, metrics, numbers=...)"
            )

    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> OwnObjective:
        return OwnObjective(self.loss or _unsaid, self.metrics)

    def predictions(self, outputs: Any, seen: Seen) -> list[Prediction]:
        """The ``outputs`` as they are, as nested lists."""
        leaves, form = tree_flatten(outputs)
        return [
            {"outputs": tree_unflatten([leaf[row].tolist() for leaf in leaves], form)} for row in range(len(leaves[0]))
        ]


def _unsaid(outputs: Any, targets: Any) -> Tensor:
    raise Refused("the loss of a task of your own is not saved with a run: pass the task again")
