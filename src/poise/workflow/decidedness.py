"""How decided the choices of a run are: measured when a genotype was selected, said, and kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from poise.diagnostics.decidedness import ADVICE, Decidedness, decidedness
from poise.engine.events import Listener, Noted
from poise.engine.run import DECIDEDNESS, RunFolder
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.genotype import Genotype
from poise.selection.rule import measures
from poise.spaces.space import kept_of
from poise.workflow.prepare import Preparation


def judge(
    prepared: Preparation,
    history: Sequence[Mapping[str, Any]],
    alphas: Mapping[str, Tensor],
    genotype: Genotype,
    listen: Listener,
) -> Decidedness:
    """How decided the genotype is that the method's rule selected, by the records of all epochs and the alphas that the
    rule got; says so where it is barely, or not to be known.

    ``prepared`` is at the last stage. Nothing is said of a rule that decides by measuring, or of alphas that the method
    never trains: there the alphas' magnitudes play no part.
    """
    method = prepared.method
    if not method.trains_alphas(prepared.settings.search.epochs):
        return Decidedness((), 0, "the alphas are never trained")
    if measures(method.selection):
        return Decidedness((), 0, f"selection={method.selection.kind} goes by what it measures, not by the alphas")
    try:
        own = [record for record in history if record.get("stage") == history[-1].get("stage")]
        counted = own[: method.guard(own).keep + 1]
        kept = kept_of(genotype, prepared.groups)
        found = decidedness(counted, alphas, prepared.groups, method.relaxation, kept)
    except (LookupError, TypeError, ValueError, RuntimeError):
        found = Decidedness((), 0, "the run's history is damaged")
    if found.barely or found.unknown:
        listen(Noted(f"{found}; {ADVICE}" if found.barely else str(found)))
    return found


def save_decidedness(output: Output, found: Decidedness) -> None:
    """Write ``decidedness.json``."""
    output.write(DECIDEDNESS, json.dumps(found.to_dict(), indent=1) + "\n")


def load_decidedness(folder: RunFolder) -> Decidedness:
    """What `save_decidedness` wrote. Raises `Refused` if it is damaged."""
    if not (folder.path / DECIDEDNESS).is_file():
        return Decidedness((), 0, "it was not measured when this run ended")
    try:
        return Decidedness.from_dict(folder.read_json(DECIDEDNESS))
    except Refused as error:
        raise Refused(f"{folder.path / DECIDEDNESS} is damaged: {error}") from None
