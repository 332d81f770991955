"""Latency tables: how long each candidate of a space takes on one device, as `poise measure-latency` writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from poise.costs.costs import Costs
from poise.errors import Refused, shown
from poise.spaces.space import ImageShape, Shape, Space
from poise.supernet.groups import searchable

FORMAT = "poise-latency"
VERSION = 1
LARGEST = 16 * 2**20
"""Bytes of a table that is read; DARTS's has about 10,000."""


@runtime_checkable
class Structured(Protocol):
    """A space that its name alone does not tell from others."""

    @property
    def structure(self) -> str:
        """A short text that differs for spaces whose networks differ, weights aside."""
        ...


@dataclass(frozen=True)
class Form:
    """What networks a table is about: they take images of a size, ``image``, or samples as ``inputs`` describes them,
    and put out so many numbers (``classes``), for every pixel where they are ``dense``. ``structure`` is that of a
    space that has one, see `Structured`."""

    space: str
    channels: int | None
    cells: int | None
    image: tuple[int, int, int] | None
    classes: int | None
    structure: str | None = None
    dense: bool = False
    inputs: str | None = None

    @staticmethod
    def of(space: Space, shape: Shape, channels: int | None, cells: int | None) -> Form:
        """Networks of ``channels`` and ``cells``, as `Space.network` takes them, for a shape."""
        structure = space.structure if isinstance(space, Structured) else None
        image, inputs, dense = None, None, False
        if isinstance(shape, ImageShape):
            image, dense = (shape.channels, *shape.size), shape.dense
        else:
            inputs = shape.described
        return Form(space.name, channels, cells, image, shape.outputs, structure, dense, inputs)

    def __str__(self) -> str:
        what = self.inputs if self.image is None else "×".join(map(str, self.image))
        sizes = {"channels": self.channels, "cells": self.cells}
        text = ", ".join(f"train.{name}={size}" for name, size in sizes.items() if size is not None)
        if self.structure is not None:
            text = f"structure {self.structure}"
        outputs = "classes for every pixel" if self.dense else "outputs" if self.image is None else "classes"
        count = "any" if self.classes is None else self.classes
        return f"{self.space} ({text or 'published size'}) on {what}, {count} {outputs}"


@dataclass(frozen=True)
class Check:
    """A network that was measured as a whole: its choices, the ``measured`` seconds, and those by the sum."""

    choices: Mapping[str, Mapping[str, tuple[str, ...]]]
    measured: float
    predicted: float


@dataclass(frozen=True)
class LatencyTable:
    """Seconds for one image: ``latency = fixed + Σ_kept seconds``.

    Args:
        form: which networks.
        device: what it was measured on: ``device``, its ``name``, ``torch``, ``threads``.
        rounds: each number is the median of so many runs.
        fixed: what every network takes.
        candidates: group -> row -> candidate -> seconds in all layers of the group.
        checks: whole networks; the cheapest and the dearest are the first two.
    """

    form: Form
    device: Mapping[str, Any]
    rounds: int
    fixed: float
    candidates: Mapping[str, Mapping[str, Mapping[str, float]]]
    checks: tuple[Check, ...]

    @property
    def error(self) -> float:
        """The mean of ``|predicted / measured − 1|`` over the whole networks."""
        return sum(abs(check.predicted / check.measured - 1) for check in self.checks) / max(len(self.checks), 1)

    def costs(self, space: Space, shape: Shape, channels: int | None, cells: int | None) -> Costs:
        """The costs of the space's networks. Raises `Refused` if the table is about other networks."""
        wanted = Form.of(space, shape, channels, cells)
        if wanted != self.form:
            raise Refused(f"the latency table is about {self.form}; the network will be {wanted}; measure it again")
        groups = searchable(space.groups)
        found = {}
        for group in groups:
            rows = []
            for row in group.rows:
                seconds = self.candidates.get(group.name, {}).get(row.name, {})
                missing = [name for name in row.candidates if name != "none" and name not in seconds]
                if missing:
                    raise Refused(f"the latency table has no {missing[0]!r} on {row.name} of {group.name!r}")
                rows.append([seconds.get(name, 0.0) for name in row.candidates])
            found[group.name] = torch.tensor(rows, dtype=torch.float64)
        return Costs("latency", self.fixed, groups, found)

    def to_json(self) -> str:
        """The file's text."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)}, indent=1)


def check_own_form(form: str | None) -> None:
    """Raise `Refused` for networks of another form than their space's own: no latency table is made of these."""
    if form is not None:
        raise Refused(f"latency is measured of networks in their space's own form, not in train.form={form}")


def read_table(path: Path) -> LatencyTable:
    """A table from its file. Raises `Refused` if it is none, or damaged."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file has that name"
        raise Refused(f"cannot read the latency table {path}: {reason}") from None
    try:
        value = json.loads(content) if len(content) <= LARGEST else None
    except (ValueError, RecursionError):
        value = None
    return parse_table(value, str(path))


def parse_table(value: Any, what: str) -> LatencyTable:
    """A table from what its JSON says. Raises `Refused` if it is none, or damaged; ``what`` names it then."""
    damaged = Refused(f"{what} is no latency table of poise, or damaged; write one with: poise measure-latency")
    try:
        if not isinstance(value, dict) or value["format"] != FORMAT:
            raise damaged
        if value["version"] != VERSION:
            raise Refused(f"{what} has version {shown(value['version'])} of latency tables; this poise reads {VERSION}")
        form = value["form"]
        sizes = [None if form[name] is None else _count(form[name]) for name in ("channels", "cells")]
        # Older tables say nothing of ``structure``, ``dense`` and ``inputs``.
        structure, inputs = (None if form.get(name) is None else str(form[name]) for name in ("structure", "inputs"))
        image = None
        if inputs is None:
            channels, height, width = (_count(number) for number in form["image"])
            image = (channels, height, width)
        classes = None if image is None and form["classes"] is None else _count(form["classes"])
        dense = bool(form.get("dense"))
        return LatencyTable(
            Form(str(form["space"]), sizes[0], sizes[1], image, classes, structure, dense, inputs),
            {str(name): fact for name, fact in value["device"].items()},
            _count(value["rounds"]),
            _seconds(value["fixed"]),
            {
                str(group): {
                    str(row): {str(name): _seconds(number) for name, number in candidates.items()}
                    for row, candidates in rows.items()
                }
                for group, rows in value["candidates"].items()
            },
            tuple(_check(check) for check in value["checks"]),
        )
    except Refused:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise damaged from None


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError
    return float(value)


def _check(value: Any) -> Check:
    choices = {
        str(group): {str(row): tuple(str(name) for name in names) for row, names in rows.items()}
        for group, rows in value["choices"].items()
    }
    measured = _seconds(value["measured"])
    if measured == 0:
        raise ValueError
    return Check(choices, measured, _seconds(value["predicted"]))


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError
    return value
