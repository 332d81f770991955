"""What runs where is what the slots say, and a command does what its row promises."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from poise.config.reading import parse_override
from poise.config.resolve import resolve
from poise.engine.stages import first_of
from poise.errors import Refused
from poise.methods.penalty import NoPenalty
from poise.methods.preset import METHODS
from poise.report.systems import CURES, Matrix, System, bases, systems
from poise.spaces import SPACES
from poise.supernet.groups import ChoiceGroup
from poise.workflow.prepare import Preparation

FOUND = list(systems())


@pytest.mark.parametrize("cure", CURES)
def test_a_cure_on_plain_darts_is_the_papers_method(cure: str) -> None:
    (system,) = (found for found in FOUND if (found.base, found.cure) == ("darts", cure))
    settings = resolve(space="darts", method="darts", overrides=[parse_override(text) for text in system.overrides])
    assert settings.method == METHODS[cure].build()


def test_a_cure_leaves_the_bases_own_slots_alone() -> None:
    (system,) = (found for found in FOUND if (found.base, found.cure) == ("pc-darts", "sdarts-adv"))
    assert system.command == "poise search --method pc-darts --set perturbation=adversarial"
    settings = resolve(space="darts", method="pc-darts", overrides=[parse_override(text) for text in system.overrides])
    method, base = settings.method, METHODS["pc-darts"].build()
    assert (method.connections, method.curriculum) == (base.connections, base.curriculum)
    assert method.perturbation == METHODS["sdarts-adv"].build().perturbation


def test_commands_can_be_pasted_into_a_shell() -> None:
    (system,) = (found for found in FOUND if (found.base, found.cure) == ("darts", "fair-darts"))
    assert system.command.endswith("--set selection=threshold --set 'without=[none]'")


def test_what_is_refused_is_numbered_by_its_reason() -> None:
    found = Matrix.of(["darts", "s2"])
    assert {found.marks[base, "sdarts-rs", "s2"] for base in bases()} == {"✓"}
    assert found.rows("darts", ["s2"])[0][0] == "s2"
    system = System("darts", "odd", ("alignment=layer", "curriculum=blank"))
    reason = system.refusal("s2")
    assert reason is not None
    assert reason.startswith("selection=magnitude: the alphas are never trained")


def test_every_stage_is_asked_and_not_the_first_alone() -> None:
    deep = "curriculum.deeper=[0, 6, 99999]"
    for space in ("darts", "nasbench201"):
        reason = System("p-darts", "deep", (deep,)).refusal(space)
        assert reason is not None
        assert reason.startswith("cells must be at most")
    settings = resolve(space="darts", method="p-darts", overrides=[parse_override(deep)])
    with pytest.raises(Refused, match="cells must be at most"):  # a search finds it out at once
        Preparation.of(settings)


def test_a_slot_is_asked_about_what_each_stage_has_left() -> None:
    space: Any = SPACES["darts"]()
    method = METHODS["p-darts"].build()  # its stages have 8, 5 and 3 candidates
    for least in (3, 4, 6):
        wanting = replace(method, penalty=Wants(least))
        if least == 3:
            assert first_of(space, wanting, 30) == (space, space.groups)
        else:
            with pytest.raises(Refused, match=rf"penalty=wants: {5 if least == 6 else 3} candidates are too few"):
                first_of(space, wanting, 30)


@dataclass(frozen=True)
class Wants(NoPenalty):
    """A penalty that makes no sense on few candidates."""

    least: int = 0
    kind: ClassVar[str] = "wants"

    def conflict(self, method: Any, groups: Sequence[ChoiceGroup], epochs: int) -> str | None:
        found = min(group.shape[1] for group in groups)
        return f"{found} candidates are too few" if found < self.least else None
