"""What a selection that measures went by: kept in the run's folder, and shown as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from poise.engine.run import DECISIONS, RunFolder
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.report.page import Grid, Paragraph, Section
from poise.report.readable_numbers import is_share, shares, words
from poise.selection.rule import Decision

FORMAT = {"format": "poise.decisions", "version": 1}
EDGE = "edge into node"


def save_decisions(output: Output, rule: str, decisions: Sequence[Decision]) -> None:
    """Write ``decisions.json``; without decisions what is there of an earlier selection goes."""
    if decisions:
        found = FORMAT | {"rule": rule, "decisions": [asdict(decision) for decision in decisions]}
        output.write(DECISIONS, json.dumps(found) + "\n")
    elif folder := output.holding(DECISIONS):
        (folder.path / DECISIONS).unlink()


def decisions_section(folder: RunFolder, history: Sequence[Mapping[str, Any]]) -> Section | None:
    """How the supernet did without each candidate, if that is what was gone by; None where it cannot be read."""
    if not folder.holding(DECISIONS):
        return None
    try:
        found = folder.read_json(DECISIONS)
        metric = history[-1]["metric"]
        name, higher = str(metric["name"]), bool(metric["higher_is_better"])
        percent = is_share(name, shares(history))
        rows = [_row(each, percent, higher) for each in found["decisions"] if len(each["removed"]) > 1]
    except (Refused, LookupError, TypeError, ValueError, AttributeError):
        return None
    if not rows:
        return None
    text = (
        f"Each candidate was left out in turn. An operation is kept if the supernet's {words(name)} suffers most "
        "without it; an edge goes if it suffers least. A dash: given up before all was measured, for it could not win."
    )
    head = ["group", "row", "outcome", f"{words(name)} without it", "without the others, worst first"]
    return Section("What was decided, and by what", [Paragraph(text), Grid(rows, head)])


def _row(each: Mapping[str, Any], percent: bool, higher: bool) -> list[str]:
    def text(score: Mapping[str, float] | None) -> str:
        if score is None:
            return "–"
        value = score["quality"] if higher else -score["quality"]
        return f"{100 * value:.2f}%" if percent else f"{value:.4g}"

    def order(name: str) -> tuple[bool, float]:
        score = each["removed"][name]
        return (True, 0.0) if score is None else (False, score["quality"])

    edge = each["of"] == "edge"
    own = each["kept"]
    others = [f"{name} {text(each['removed'][name])}" for name in sorted(each["removed"], key=order) if name not in own]
    outcome = f"{'edge' if edge else 'keeps'} {', '.join(own)}{' goes' if edge else ''}"
    row = f"{EDGE} {each['row']}" if edge else each["row"]
    return [each["group"], row, outcome, ", ".join(text(each["removed"][name]) for name in own), ", ".join(others)]
