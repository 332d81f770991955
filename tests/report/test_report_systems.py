"""What runs where is what the slots say, and a command does what its row promises."""

from __future__ import annotations

import pytest

from poise.config import parse_override, resolve
from poise.methods.preset import METHODS
from poise.report.systems import CURES, Matrix, System, bases, systems

FOUND = list(systems())


@pytest.mark.parametrize("cure", CURES)
def test_a_cure_on_plain_darts_is_the_papers_method(cure: str) -> None:
    (system,) = (found for found in FOUND if (found.base, found.cure) == ("darts", cure))
    settings = resolve(space="darts", method="darts", overrides=[parse_override(text) for text in system.overrides])
    assert settings.build_method() == METHODS[cure].build()


def test_a_cure_leaves_the_bases_own_slots_alone() -> None:
    (system,) = (found for found in FOUND if (found.base, found.cure) == ("pc-darts", "sdarts-adv"))
    assert system.command == "poise search --method pc-darts --set perturbation=adversarial"
    settings = resolve(space="darts", method="pc-darts", overrides=[parse_override(text) for text in system.overrides])
    method, base = settings.build_method(), METHODS["pc-darts"].build()
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
