"""The discrete architecture: which candidates each choice keeps. Frozen, validated, versioned JSON; knows nothing else.

A genotype names a search space and, for every choice group, the candidates that each row keeps::

    Genotype("darts", {"normal": {"0->2": ("sep_conv_3x3",), "1->2": ("skip_connect",)}, "reduce": {...}})

A row may keep no candidate (it is left out), one, or several: Fair DARTS produces all three. Whether a genotype makes
sense in its space is the space's to say (`Space.check`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from poise import registries
from poise.errors import Refused, shown
from poise.registry import Registry

FORMAT = "poise.genotype"
VERSION = 1
LONGEST = 1_000_000
"""Characters; a longer text is no genotype."""

Choices = Mapping[str, Mapping[str, tuple[str, ...]]]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.>:-]{0,199}")


def checked_name(value: object, what: str) -> str:
    """The value, if it can name something in a genotype; else `Refused`."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise Refused(f"{what} in a genotype must be a name of letters, digits and _ . : > -, got {shown(value, 60)}")
    return value


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture.

    Args:
        space: name of the search space that it belongs to.
        choices: group -> row -> candidates kept. Rows that keep nothing are left out; order does not matter.

    Raises:
        Refused: a name is not a name, a candidate stands twice in a row.
    """

    space: str
    choices: Choices

    def __post_init__(self) -> None:
        checked_name(self.space, "the space")
        if not isinstance(self.choices, Mapping):
            raise Refused(f"a genotype's choices must map groups to rows, got {type(self.choices).__name__}")
        frozen: dict[str, Mapping[str, tuple[str, ...]]] = {}
        for group, rows in sorted(self.choices.items(), key=lambda item: str(item[0])):
            checked_name(group, "a group")
            if not isinstance(rows, Mapping):
                raise Refused(f"group {group!r} of a genotype must map rows to candidates, got {type(rows).__name__}")
            kept: dict[str, tuple[str, ...]] = {}
            for row, candidates in sorted(rows.items(), key=lambda item: str(item[0])):
                checked_name(row, "a row")
                if not isinstance(candidates, (tuple, list)):
                    raise Refused(f"row {row!r} of a genotype must list its candidates, got {shown(candidates, 60)}")
                names = tuple(
                    sorted(checked_name(candidate, f"a candidate of row {row!r}") for candidate in candidates)
                )
                if len(set(names)) < len(names):
                    raise Refused(f"row {row!r} of a genotype names a candidate twice: {', '.join(names)[:200]}")
                if names:
                    kept[row] = names
            frozen[group] = MappingProxyType(kept)
        object.__setattr__(self, "choices", MappingProxyType(frozen))

    def __repr__(self) -> str:
        return f"Genotype({self.space!r}, {self.to_dict()['choices']})"

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[type[Genotype], tuple[str, dict[str, dict[str, tuple[str, ...]]]]]:
        return Genotype, (self.space, {group: dict(rows) for group, rows in self.choices.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as they stand in the JSON form."""
        choices = {group: {row: list(kept) for row, kept in rows.items()} for group, rows in self.choices.items()}
        return {"format": FORMAT, "version": VERSION, "space": self.space, "choices": choices}

    def to_json(self) -> str:
        """The versioned JSON form; `from_json` is its exact inverse."""
        return json.dumps(self.to_dict(), indent=2)

    @staticmethod
    def from_json(text: str) -> Genotype:
        """Read the JSON form. Raises `Refused` on anything that is not exactly one."""
        if len(text) > LONGEST:
            raise Refused(f"a genotype has at most {LONGEST:,} characters, got {len(text):,}")
        try:
            value = json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise Refused(f"not a genotype: the JSON is damaged ({error})") from None
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise Refused(f'not a genotype: expected a JSON object with "format": "{FORMAT}"')
        if type(value.get("version")) is not int or value["version"] != VERSION:
            raise Refused(
                f"genotype version {shown(value.get('version'), 60)} is not supported; this poise reads {VERSION}"
            )
        if set(value) != {"format", "version", "space", "choices"}:
            raise Refused(f"a genotype has the keys format, version, space, choices; got {shown(list(value), 60)}")
        return Genotype(value["space"], value["choices"])

    @staticmethod
    def parse(text: str, space: str = "darts") -> Genotype:
        """Read a genotype in any notation: poise's JSON, or one of `poise.notations`, such as the DARTS papers' Python
        text, a NAS-Bench-201 string, or a cell of NAS-Bench-1Shot1 as NAS-Bench-101 writes it.

        Nothing is evaluated. Around a genotype that is not JSON there may be other text, such as the rest of a log's
        line.

        Args:
            text: the genotype.
            space: the cell space that a Python text belongs to (``darts``, ``s1`` ... ``s4``); that of a recurrent cell
                says so itself, as do the other notations.

        Raises:
            Refused: there is no genotype in it, a malformed one, or several that differ.
        """
        text = text.strip()
        if len(text) > LONGEST:
            raise Refused(f"a genotype has at most {LONGEST:,} characters, got {len(text):,}")
        if text.startswith("{"):
            return Genotype.from_json(text)
        found: dict[Genotype, int] = {}
        for start, part, notation in _within(text):
            found.setdefault(notation.read(part, space), text.count("\n", 0, start) + 1)
        if len(found) > 1:
            lines = [str(line) for line in found.values()]
            shown = ", ".join(lines if len(lines) < 6 else [*lines[:3], "...", lines[-1]])
            raise Refused(f"{len(found)} different genotypes stand in the text (lines {shown}); keep the one you mean")
        return next(iter(found), None) or _whole(text, space)


def _within(text: str) -> Iterator[tuple[int, str, Notation]]:
    """What looks like a genotype in a text: where it starts, what it is, and its notation."""
    notations = list(NOTATIONS.values())
    pattern = _any_of([notation.within for notation in notations])
    place = 0
    while match := pattern.search(text, place):
        notation = notations[(match.lastindex or 0) - 1]
        end = notation.end(text, match.end())
        if end is None:
            return
        yield match.start(), text[match.start() : end], notation
        place = end


def _whole(text: str, space: str) -> Genotype:
    """Read a text in which none is found in the notation that is meant, so that a refusal says what is wrong."""
    notations = list(NOTATIONS.values())
    match = _any_of([notation.meant for notation in notations]).search(text)
    if match is None:
        raise no_genotype(text)
    return notations[(match.lastindex or 0) - 1].read(text, space)


def _any_of(patterns: list[str]) -> re.Pattern[str]:
    """Matches the pattern that begins first; a match's ``lastindex`` is its number, from 1."""
    return re.compile("|".join(f"({pattern})" for pattern in patterns))


def no_genotype(text: str) -> Refused:
    """The refusal of a text that is none in any notation."""
    *forms, last = ["poise's JSON", *(notation.form for notation in NOTATIONS.values())]
    return Refused(f"not a genotype: expected {', '.join(forms)} or {last}, got {text[:60]!r}")


@dataclass(frozen=True)
class Notation:
    """How genotypes are written elsewhere. One file of `poise.notations` reads, writes and registers one.

    Args:
        form: what a text looks like, for refusals.
        within: where one begins in a longer text; a regular expression, whose groups do not capture.
        meant: what says that a text is meant as one, though `within` finds none there; likewise.
        read: the genotype of a text, and of the space that a person names, where the text does not say it. Raises
            `Refused`.
        end: where one ends that `within` has matched up to a place; None: all that follows is inside.
    """

    form: str
    within: str
    meant: str
    read: Callable[[str, str], Genotype]
    end: Callable[[str, int], int | None] = lambda text, place: place


NOTATIONS: Registry[Notation] = registries.NOTATIONS


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object whose keys stand once each."""
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return value
