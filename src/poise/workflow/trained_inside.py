"""How the networks do that were trained in a search's folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poise.config.settings import RunSettings
from poise.engine.run import RunFolder
from poise.errors import Refused
from poise.workflow.networks_inside import trainings_in
from poise.workflow.saved import settings_of
from poise.workflow.sentences import measure_text, metric_in


@dataclass(frozen=True)
class Outcome:
    """A training in a search's folder.

    Args:
        name: of its folder.
        current: whether it is of the search's genotype now.
        result: what it measured; empty before its end.
        tested: how many predictions its test was of, if that is known.
        text: the result in words.
    """

    name: str
    current: bool
    result: Mapping[str, Any]
    tested: int | None
    text: str


def outcomes(folder: RunFolder) -> list[Outcome]:
    """Of all networks in the folder; what cannot be read is passed over."""
    found = []
    for inside in trainings_in(folder):
        network = RunFolder(folder.path / inside.name)
        try:
            result, settings = network.result(), settings_of(network, device="cpu")
            metric = metric_in(network.history())
        except Refused:
            continue
        found.append(Outcome(inside.name, inside.current, result, tested_in(network), _text(result, settings, metric)))
    return found


def tested_in(network: RunFolder) -> int | None:
    """How many predictions the test of a trained network was of; None: it does not say."""
    try:
        count = network.read_json("network.json").get("tested")
    except Refused:
        return None
    return count if isinstance(count, int) and count > 0 else None


def _text(result: Mapping[str, Any], settings: RunSettings, metric: str | None) -> str:
    for split, where in (("test", "the test split"), ("valid", "the validation split")):
        value = result.get(f"{split}_{metric}")
        if isinstance(value, int | float):
            return f"{measure_text(f'{split}_{metric}', value, settings)} {str(metric).replace('_', ' ')} on {where}"
    return "" if result else "not finished"
