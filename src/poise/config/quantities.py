"""Amounts with units and sizes, as people write them: ``300M``, ``8ms``, ``48x64``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from poise.costs.target import CostTarget
from poise.errors import Refused, shown

_COUNTS = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6}
_FORM = re.compile(r"\s*(\d{1,15}(?:\.\d{0,15})?(?:[eE][+-]?\d{1,2})?)\s*([A-Za-zµμ]*)\s*")

_SIZE = re.compile(r"([1-9]\d{0,5})(?:[x×]([1-9]\d{0,5}))?")


def parse_amount(metric: str, text: str) -> float:
    """``300M`` -> 3e8: a number and nothing, k, M or G; of a latency ``8ms`` -> 0.008: a number and s, ms or us. Raises
    `Refused` for anything else."""
    what, units, form = f"--target-{metric}", _COUNTS, "a number with k, M or G, such as 300M"
    if metric == "latency":
        units, form = _TIMES, "a number with s, ms or us, such as 8ms"
    return _amount(text, what, units, form)


def parse_memory(text: str | None) -> int:
    """``8G`` -> 8e9 bytes; None, which is not said, -> 0. Raises `Refused` for anything else."""
    return 0 if text is None else round(_amount(text, "--memory", _COUNTS, "bytes with k, M or G, such as 8G"))


def _amount(text: str, what: str, units: Mapping[str, float], form: str) -> float:
    found = _FORM.fullmatch(text)
    if found is None or found[2] not in units:
        raise Refused(f"{what} takes {form}; got {shown(text)}")
    value = float(found[1]) * units[found[2]]
    if not 0 < value < float("inf"):
        raise Refused(f"{what} must be above 0, got {shown(text)}")
    return value


def parse_size(text: str, what: str) -> tuple[int, int]:
    """``64`` -> (64, 64), ``48x64`` -> (48, 64): height and width. Raises `Refused` for anything else, also for 0."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise Refused(f"{what} takes a height and width in pixels, such as 64 or 48x64; got {shown(text)}")
    return int(found[1]), int(found[2] or found[1])


def parse_target(
    macs: str | None = None, parameters: str | None = None, latency: str | None = None, table: Path | None = None
) -> CostTarget | None:
    """The one cost target that these texts give; None if they give none. Raises `Refused` for more than one."""
    given = {"macs": macs, "parameters": parameters, "latency": latency}
    texts = {metric: text for metric, text in given.items() if text is not None}
    if len(texts) > 1:
        raise Refused(f"one target at a time; got {' and '.join(f'--target-{metric}' for metric in texts)}")
    for metric, text in texts.items():
        return CostTarget(metric, parse_amount(metric, text), None if table is None else str(table))
    if table is not None:
        raise Refused("--latency-table goes with --target-latency")
    return None
