"""What one contestant found with one seed: everything that a report needs, small enough to be kept for good."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from poise.errors import Refused
from poise.genotype import Genotype

FORMAT = "poise.bench.result"
LARGEST = 16 * 2**20
"""Bytes of a result's file."""


@dataclass(frozen=True)
class Result:
    """One search and one selection.

    Args:
        contestant: ``lambda-darts``, ``random``, ``darts:alignment.ramp=0.3``, ...
        selection: the rule that chose.
        seed: of everything random.
        genotype: what was found.
        seconds: of ``search``, ``selection``, and perhaps more.
        epochs: the record of each epoch, as in a run's history, and ``genotype``, the architecture that the rule would
            have taken then. Empty where a rule needs more than alphas.
        trace: for contestants without epochs: ``seconds`` so far, and the best ``genotype`` so far.
        ranking: random architectures, each ``[genotype, accuracy, loss]`` by the trained supernet.
    """

    contestant: str
    selection: str
    seed: int
    genotype: Genotype
    seconds: Mapping[str, float]
    epochs: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    trace: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    ranking: Sequence[Sequence[Any]] = field(default_factory=tuple)

    @property
    def label(self) -> str:
        """Contestant and rule."""
        return f"{self.contestant} / {self.selection}" if self.selection else self.contestant

    @property
    def total_seconds(self) -> float:
        """Of the search and the selection together."""
        return sum(self.seconds.get(name, 0.0) for name in ("search", "selection"))

    @property
    def file_name(self) -> str:
        """Where it is kept, in the bench's folder of results."""
        return file_name(self.contestant, self.selection, self.seed)

    def to_json(self) -> str:
        """As JSON; genotypes are written as texts."""
        plain = {part.name: getattr(self, part.name) for part in fields(self)} | {"genotype": compact(self.genotype)}
        return json.dumps({"format": FORMAT, "version": 1} | plain)


def compact(genotype: Genotype) -> str:
    """A genotype as one line."""
    return json.dumps(genotype.to_dict(), separators=(",", ":"))


def safe(label: str) -> str:
    """A label as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.=+-]", "_", label)


def file_name(contestant: str, selection: str, seed: int) -> str:
    """``lambda-darts--magnitude--seed-0.json``."""
    return f"{safe(contestant)}--{safe(selection) or 'own'}--seed-{seed}.json"


def read_result(path: Path) -> Result:
    """A result's file. Raises `Refused` if it is none."""
    try:
        if path.stat().st_size > LARGEST:
            raise Refused(f"{path} has more than {LARGEST:,} bytes: it is no result")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Refused(f"{path} is damaged: it is not valid JSON") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT or value.get("version") != 1:
        raise Refused(f"{path} is not a result of a bench that this poise can read")
    try:
        return Result(
            contestant=str(value["contestant"]), selection=str(value["selection"]), seed=int(value["seed"]),
            genotype=Genotype.parse(value["genotype"]),
            seconds={str(name): float(seconds) for name, seconds in value["seconds"].items()},
            epochs=[dict(epoch) for epoch in value["epochs"]], trace=[dict(step) for step in value["trace"]],
            ranking=[list(entry) for entry in value["ranking"]],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"{path} is damaged: {error}") from None
