"""What ``--preset paper`` resolves to is what was published, method by method and space by space."""

from __future__ import annotations

import pytest
from published import ROWS, SOURCES, resolved

from poise.methods import METHODS
from poise.methods.slots import SLOTS

PAIRS = sorted({(row.space, row.method) for row in ROWS})


@pytest.mark.parametrize(("space", "method"), PAIRS)
def test_the_paper_preset_is_what_was_published(space: str, method: str) -> None:
    """Where it is not, the table says why, and no longer says so once it is."""
    for row in ROWS:
        if (row.space, row.method) == (space, method):
            assert row.setting in resolved(space, method), row.setting
            same = (
                row.resolved == pytest.approx(row.value) if isinstance(row.value, float) else row.resolved == row.value
            )
            assert same == (not row.why), (row, row.resolved)


def test_every_paper_is_there_and_every_source_is_used() -> None:
    assert {row.source for row in ROWS} == set(SOURCES)
    missing = set(METHODS) - {method for _, method in PAIRS}
    assert missing == {"poise", "sdarts-adv-exact"}, "these two are of poise's own"


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("poise", "sdarts-adv-exact")])
def test_every_setting_that_a_method_was_published_with_has_a_row(name: str) -> None:
    """Else the preset could say anything."""
    known = {(row.space, row.setting) for row in ROWS if row.method == name and not row.why}
    for scope, settings in METHODS[name].published.items():
        for setting in settings:
            space = {"*": "darts", "s1": "darts", "s2": "darts", "s3": "darts", "s4": "darts"}.get(scope, scope)
            assert (space, setting) in known, (scope, setting)


def test_the_stronger_attack_is_searched_with_the_settings_of_the_published_one() -> None:
    published, own = METHODS["sdarts-adv"], METHODS["sdarts-adv-exact"]
    assert published.published == own.published
    slots = [slot for slot in SLOTS if getattr(published.build(), slot) != getattr(own.build(), slot)]
    assert slots == ["perturbation"]
