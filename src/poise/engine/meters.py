"""Metrics of torchmetrics as meters. Whoever measures imports it, and only then: that takes as long as torch itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from poise.errors import Refused

if TYPE_CHECKING:
    from torchmetrics import Metric

Prepare = Callable[[Any, Any], tuple[Any, Any]]
Read = Callable[[Mapping[str, "Metric"]], dict[str, float]]


def finest(device: torch.device) -> torch.dtype:
    """float64, where the device has it: sums of many batches keep their digits."""
    return torch.float32 if device.type == "mps" else torch.float64


def precise(values: Tensor) -> Tensor:
    """In the `finest` precision."""
    return values.to(finest(values.device))


def number(value: Any, name: str) -> float:
    """A metric's value as a float: of one in float32 the shortest decimal, so that 9 of 10 is 0.9 and not
    0.8999999761581421. Raises `Refused` unless it is a single number."""
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise Refused(f"metric {name!r} must give a single number; got {_seen(value)}")
    found = value.item()
    return float(str(np.float32(found))) if value.dtype == torch.float32 else float(found)


def _seen(value: Any) -> str:
    return f"numbers of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


def read_all(metrics: Mapping[str, Metric]) -> dict[str, float]:
    """Each metric's own number."""
    return {name: number(metric.compute(), name) for name, metric in metrics.items()}


class TorchMeter:
    """Adds up metrics of torchmetrics, in float64. Satisfies `poise.engine.objective.Meter`.

    Args:
        metrics: by name, such as those made with ``validate_args=False``, which do not wait for the device; they are
            copied and begin afresh.
        prepare: (outputs, targets) -> what the metrics take.
        read: the metrics -> their numbers by name.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        prepare: Prepare = lambda outputs, targets: (outputs, targets),
        read: Read = read_all,
    ) -> None:
        self._metrics = {name: copy.deepcopy(metric) for name, metric in metrics.items()}
        self._prepare = prepare
        self._read = read
        self._device = torch.device("cpu")
        self._begun = False
        for metric in self._metrics.values():
            metric.reset()
            _set_floats(metric, torch.float64)

    @torch.no_grad()
    def update(self, outputs: Any, targets: Any) -> None:
        outputs, targets = self._prepare(tree_map_only(Tensor, Tensor.detach, outputs), targets)
        self._move(outputs)
        self._begun = True
        for metric in self._metrics.values():
            metric.update(outputs, targets)

    def _move(self, outputs: Any) -> None:
        """To where the outputs are."""
        leaves = tree_leaves(outputs)
        device = next((leaf.device for leaf in leaves if isinstance(leaf, Tensor)), self._device)
        if device != self._device:
            self._device = device
            for metric in self._metrics.values():
                _set_floats(metric, finest(device))
                metric.to(device)

    def compute(self) -> dict[str, float]:
        return self._read(self._metrics) if self._begun else {}

    def state(self) -> dict[str, Any]:
        if not self._begun:
            return {}
        return {
            name: {path or "self": _state(part) for path, part in _parts(metric).items()}
            for name, metric in self._metrics.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if not state:
            return
        self._begun, self._device = True, torch.device("cpu")
        for name, metric in self._metrics.items():
            metric.to(self._device)
            for path, part in _parts(metric).items():
                _restore(part, state[name][path or "self"])


def _parts(metric: Metric) -> dict[str, Metric]:
    """A metric and those within it: wrappers hold others."""
    from torchmetrics import Metric

    return {path: part for path, part in metric.named_modules() if isinstance(part, Metric)}


def _set_floats(metric: Metric, dtype: torch.dtype) -> None:
    """Let it add up in this precision; whole numbers stay whole numbers."""
    for part in _parts(metric).values():
        for name, value in part.metric_state.items():
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(part, name, value.to(dtype))


def _state(metric: Metric) -> dict[str, Any]:
    found: dict[str, Any] = {"updates": torch.tensor(metric.update_count)}
    for name, value in metric.metric_state.items():
        found[name] = dict(zip(map(str, range(len(value))), value, strict=True)) if isinstance(value, list) else value
    return found


def _restore(metric: Metric, state: Mapping[str, Any]) -> None:
    for name, value in metric.metric_state.items():
        if isinstance(value, list):
            parts = state.get(name, {})
            found: Any = [parts[str(index)].cpu() for index in range(len(parts))]
        else:
            found = state[name].cpu()
        setattr(metric, name, found)
    metric._update_count = int(state["updates"])
    metric._computed = None
