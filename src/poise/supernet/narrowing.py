"""What is left of groups of choices: without some candidates, or with those that an earlier stage of a search kept.

Groups that only weight the edges of others have no candidates to leave out; they stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from poise.errors import Refused, unknown
from poise.supernet.groups import ChoiceGroup, Narrowing, Row, searchable


def without(groups: Sequence[ChoiceGroup], candidates: Sequence[str]) -> tuple[ChoiceGroup, ...]:
    """The groups with these candidates left out wherever they occur.

    Raises:
        Refused: fewer than two would remain of a row, or a group does not let go of one.
    """
    for group in searchable(groups):
        found = [name for name in candidates if any(name in row.candidates for row in group.rows)]
        if found and group.whole is not None:
            raise Refused(f"{group.whole}, got {', '.join(found)}")

    def smaller(_: ChoiceGroup, row: Row) -> Row:
        left = tuple(name for name in row.candidates if name not in candidates)
        if len(left) < 2:
            raise Refused(f"without {', '.join(candidates)} row {row.name} keeps {len(left)} candidates; 2 are needed")
        return replace(row, candidates=left)

    return _each(groups, smaller)


def narrowed(groups: Sequence[ChoiceGroup], narrowing: Narrowing) -> tuple[ChoiceGroup, ...]:
    """The groups with the candidates that ``narrowing`` names only, in the rows' own order; empty: all of them.

    Raises:
        Refused: it is of other groups or rows, names what is no candidate, or leaves fewer than two of a row.
    """
    if not narrowing:
        return tuple(groups)
    rows = {group.name: [row.name for row in group.rows] for group in searchable(groups)}
    if rows != {name: list(found) for name, found in narrowing.items()}:
        raise Refused("the candidates that are left are of other groups or rows than the space's")

    def smaller(group: ChoiceGroup, row: Row) -> Row:
        names = narrowing[group.name][row.name]
        for name in names:
            if name not in row.candidates:
                raise unknown(f"candidate of row {row.name!r}", name, row.candidates)
        left = tuple(name for name in row.candidates if name in names)
        if len(left) < 2:
            raise Refused(f"row {row.name} keeps {len(left)} candidates; 2 are needed")
        return Row(row.name, left, row.dropped + tuple(name for name in row.candidates if name not in names))

    return _each(groups, smaller)


def _each(groups: Sequence[ChoiceGroup], smaller: Callable[[ChoiceGroup, Row], Row]) -> tuple[ChoiceGroup, ...]:
    """The groups with every row of those that genotypes decide made smaller."""
    return tuple(
        group if group.scales else replace(group, rows=tuple(smaller(group, row) for row in group.rows))
        for group in groups
    )
