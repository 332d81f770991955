"""Regression: numbers, in units of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor
from torch.nn import functional as F

from poise.data.labels import Numbers, Seen
from poise.engine.class_counts import mean
from poise.engine.meters import TorchMeter, precise
from poise.engine.objective import Meter, Metric, Objective, Reduction
from poise.engine.predict import Prediction
from poise.errors import Refused
from poise.export.answers import number_answers
from poise.export.own_units import OwnUnits
from poise.supernet.constants import constant
from poise.tasks.supervised import Supervised
from poise.tasks.task import TASKS

METRICS = (Metric("r2"), Metric("mae", higher_is_better=False), Metric("rmse", higher_is_better=False))

LossForm = Literal["mse", "mae", "huber"]

LOSSES: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


@dataclass(frozen=True)
class Standardised(Objective):
    """The mean over all numbers of ``d²``, ``|d|`` or Huber's loss of ``d = output − (target − mean) / std``: half of
    ``d²`` up to 1, from there on ``|d| − ½``.

    Outputs are ``[n, k]``, or ``[n]`` for a single quantity; targets are the same in own units. So a change of the
    targets' units changes no loss and no gradient. Measures ``r2``, the mean over the quantities of
    ``1 − Σ(output − target)² / Σ(target − mean of the targets)²``; ``mae``, the mean absolute error; and ``rmse``, the
    root of the mean squared error. These two are in own units, over all quantities together. Where there are several,
    each has its own, ``r2/NAME`` and so on.

    Args:
        names: of the k quantities.
        mean, std: of each, over the training data.
        form: ``mse``, ``mae`` or ``huber``.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    form: LossForm = "mse"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return METRICS

    def loss(self, outputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        outputs, targets = self._pair(outputs, targets)
        return LOSSES[self.form](outputs, targets.to(outputs.dtype), reduction=reduction)

    def count(self, targets: Tensor) -> int:
        return targets.numel()

    def running(self) -> Meter:
        return self._meter("r2")

    def meter(self) -> Meter:
        return self._meter("r2", "mae", "mse")

    def _meter(self, *names: str) -> Meter:
        from torchmetrics.regression import MeanAbsoluteError, MeanSquaredError, R2Score

        count = len(self.names)
        every: dict[str, Any] = {
            "r2": R2Score(multioutput="raw_values"),
            "mae": MeanAbsoluteError(num_outputs=count),
            "mse": MeanSquaredError(num_outputs=count),
        }
        return TorchMeter({name: every[name] for name in names}, self._precise_pair, self._read)

    def _read(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The metrics are of standardised numbers: units and a large mean would cost digits."""
        defined = metrics["r2"].total > 1  # a variance needs two
        each = {"r2": _values(metrics["r2"]) if defined else [math.nan] * len(self.names)}
        found = {"r2": mean(each["r2"])}
        if "mae" not in metrics:  # while a network is trained
            return found
        each["mae"] = [std * value for std, value in zip(self.std, _values(metrics["mae"]), strict=True)]
        squares = [std**2 * value for std, value in zip(self.std, _values(metrics["mse"]), strict=True)]
        each["rmse"] = [math.sqrt(value) for value in squares]
        found |= {"mae": mean(each["mae"]), "rmse": math.sqrt(mean(squares))}
        if len(self.names) > 1:
            for what, values in each.items():
                found |= {f"{what}/{name}": value for name, value in zip(self.names, values, strict=True)}
        return found

    def check(self, outputs: Any, targets: Tensor) -> None:
        count = len(self.names)
        shapes = [[len(targets), count], *([[len(targets)]] if count == 1 else [])]
        if not isinstance(outputs, Tensor) or list(outputs.shape) not in shapes:
            raise Refused(f"expected numbers {' or '.join(map(str, shapes))}, one per quantity")

    def _pair(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both ``[n, k]``, the targets standardised: in float64, since a mean may be large beside its deviation."""
        targets = precise(targets.reshape(-1, len(self.names)))
        mean, std = (constant(values, targets.dtype, targets.device) for values in (self.mean, self.std))
        standard = (targets - mean) / std
        return outputs.reshape(-1, len(self.names)), standard

    def _precise_pair(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs, targets = self._pair(outputs, targets)
        return precise(outputs), targets


def _values(metric: Any) -> list[float]:
    return metric.compute().flatten().tolist()


@TASKS.add("regression")
@dataclass(frozen=True)
class Regression(Supervised):
    """One number or several per input, standardised inside; measured by R².

    Args:
        loss: ``mse``, ``mae``, or ``huber``, which is less drawn to values far off.
        columns: of a table, those of the numbers; (): all that fit.
    """

    loss: LossForm = "mse"
    columns: tuple[str, ...] = ()

    name: ClassVar[str] = "regression"
    pipelines: ClassVar[Mapping[str, str]] = {"rows": "tabular-regression"}
    named: ClassVar[str] = "numbers"
    unused: ClassVar[tuple[str, ...]] = (*Supervised.unused, "search.label_smoothing", "train.label_smoothing")
    measures: ClassVar[tuple[Metric, ...]] = METRICS

    @property
    def labels(self) -> Numbers:
        return Numbers(self.columns)

    def objective(self, seen: Seen, label_smoothing: float = 0.0) -> Standardised:
        return Standardised(seen.names, *_scale(seen), self.loss)

    def finish(self, seen: Seen) -> OwnUnits:
        """Back to own units."""
        return OwnUnits(*_scale(seen))

    def predictions(self, outputs: Tensor, seen: Seen) -> list[Prediction]:
        """Each number by its name."""
        return number_answers(outputs, seen.names)


def _scale(seen: Seen) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each quantity; one that is the same everywhere is only shifted."""
    return seen.statistics["mean"], tuple(std or 1.0 for std in seen.statistics["std"])
