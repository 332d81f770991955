"""What exists, as tables: read off the registries, so that something new shows up by itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from poise.data.source import SOURCES
from poise.diagnostics.diagnostic import DIAGNOSTICS
from poise.errors import unknown
from poise.export.exports import EXPORTS
from poise.methods.preset import METHODS
from poise.methods.slots import SLOTS
from poise.report.systems import systems_table
from poise.selection.rule import SELECTIONS
from poise.spaces.space import SPACES


def summary(item: Any) -> str:
    """The first paragraph of a docstring, in one line."""
    text = (inspect.getdoc(item) or "").split("\n\n")[0]
    return " ".join(text.split()).replace("``", "")


def _table(rows: Mapping[str, str], heads: tuple[str, str] = ("name", "what it is"), title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column(heads[0], no_wrap=True, style="bold")
    table.add_column(heads[1])
    for name, text in rows.items():
        table.add_row(Text(name), Text(text))
    return table


def _methods() -> RenderableType:
    return _table({name: f"{preset.summary} [{preset.citation}]".replace("``", "") for name, preset in METHODS.items()})


def _slots() -> RenderableType:
    return Group(
        *(_table({n: summary(cls) for n, cls in kinds.items()}, title=f"{slot}=") for slot, kinds in SLOTS.items())
    )


def _data() -> RenderableType:
    return _table({kind.form: summary(kind) for kind in SOURCES.values()}, ("--data", "what it is"))


def _diagnostics() -> RenderableType:
    after = {True: "every epoch, or after the search", False: "after the search"}
    return _table({name: f"{summary(cls)} [{after[cls.per_epoch]}]" for name, cls in DIAGNOSTICS.items()})


LISTS: dict[str, Callable[[], RenderableType]] = {
    "methods": _methods,
    "slots": _slots,
    "spaces": lambda: _table({name: summary(cls) for name, cls in SPACES.items()}),
    "selections": lambda: _table({name: summary(cls) for name, cls in SELECTIONS.items()}),
    "systems": systems_table,
    "data": _data,
    "diagnostics": _diagnostics,
    "exports": lambda: _table({name: summary(function) for name, function in EXPORTS.items()}),
}


def catalogue(what: str) -> RenderableType:
    """The table of one kind of thing. Raises `Refused` on an unknown kind."""
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    return LISTS[what]()
