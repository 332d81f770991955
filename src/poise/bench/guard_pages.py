"""How often guards were right in a bench, and what foretold its declines: tables for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from poise.bench.anytime import PANELS, number_of
from poise.bench.guarding import Tally, foresight, guards
from poise.bench.judge import Judged, Standing
from poise.bench.standings import Rows


def guard_rows(standings: Sequence[Standing]) -> Rows:
    """A row per guard. Empty if no contestant has epochs."""
    found = guards(_runs(standings))
    head = ["guard", "declines caught", "false alarms", "after epoch", "mean at the end", "mean kept"]
    return [head, *(_guard(kind, tally) for kind, tally in found.items())] if found else []


def _guard(kind: str, tally: Tally) -> list[str]:
    return [
        kind, f"{tally.caught} of {tally.declined}", f"{tally.false_alarms} of {tally.fine}",
        "–" if tally.epoch is None else f"{tally.epoch:.1f}", f"{tally.without:.2f}", f"{tally.kept:.2f}",
    ]  # fmt: skip


def indicator_rows(standings: Sequence[Standing]) -> Rows:
    """A row per number of the epochs' records that a figure shows. Empty if nothing declined, or everything did."""
    runs = [run for run in _runs(standings) if run.result.epochs]
    found = {name: foresight(number_of(pattern), runs) for name, pattern in PANELS.items()}
    rows = [[name, f"{value:.2f}"] for name, value in found.items() if value is not None]
    return [["indicator", "larger before a decline"], *rows] if rows else []


def guard_dict(standings: Sequence[Standing]) -> dict[str, Any]:
    """As plain values."""
    runs = _runs(standings)
    return {
        "guards": {kind: vars(tally) for kind, tally in guards(runs).items()},
        "foresight": {name: foresight(number_of(pattern), runs) for name, pattern in PANELS.items()},
    }


def _runs(standings: Sequence[Standing]) -> list[Judged]:
    return [run for standing in standings for run in standing.runs]
