"""Numbers that tell how a mixture stands, one set per epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from poise.supernet.groups import ChoiceGroup


def mixture_statistics(probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup]) -> dict[str, Any]:
    """Per group the mean over rows of the largest weight, ``max``, and of the ``entropy`` in nats of the row divided
    by its sum."""
    found = {}
    for group in groups:
        values = probabilities[group.name].detach()
        share = values / values.sum(dim=1, keepdim=True).clamp(min=1e-12)
        entropy = -(share * share.clamp(min=1e-12).log()).sum(dim=1)
        found[group.name] = {"max": float(values.max(dim=1).values.mean()), "entropy": float(entropy.mean())}
    return found


def skip_share(probabilities: Mapping[str, Tensor], groups: Sequence[ChoiceGroup]) -> float | None:
    """The share of rows whose largest weight, ``none`` aside, is ``skip_connect``'s; None where no row has that
    candidate. A row that had it in an earlier stage of the search counts too."""
    rows = 0
    skips = 0
    for group in groups:
        for row, values in zip(group.rows, probabilities[group.name].tolist(), strict=True):
            if "skip_connect" not in row.candidates + row.dropped:
                continue
            named = {name: value for name, value in zip(row.candidates, values, strict=True) if name != "none"}
            rows += 1
            skips += max(named, key=named.__getitem__) == "skip_connect"
    return skips / rows if rows else None
