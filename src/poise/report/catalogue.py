"""What exists, as tables: read off the registries, so that something new shows up by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from poise.errors import unknown
from poise.registries import DIAGNOSTICS, EXPORTS, METHODS, SELECTIONS, SLOTS, SOURCES, SPACES, TASKS, TRACKERS
from poise.registry import Registry


def summary(registry: Registry[Any], name: str) -> str:
    """The first paragraph of a thing's docstring, in one line."""
    return " ".join(registry.doc(name).split("\n\n")[0].split()).replace("``", "")


def summaries(registry: Registry[Any]) -> dict[str, str]:
    """Of everything in it, by name."""
    return {name: summary(registry, name) for name in registry}


def _table(rows: Mapping[str, str], heads: tuple[str, str] = ("name", "what it is"), title: str | None = None) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    table.add_column(heads[0], no_wrap=True, style="bold")
    table.add_column(heads[1])
    for name, text in rows.items():
        table.add_row(Text(name), Text(text))
    return table


def _methods() -> RenderableType:
    return _table(summaries(METHODS))


def _methods_cited() -> RenderableType:
    cited = {name: METHODS.value(name, "citation") for name in METHODS}
    return _table({name: f"{text} [{cited[name]}]" for name, text in summaries(METHODS).items()})


def _slots() -> RenderableType:
    return Group(*(_table(summaries(kinds), title=f"{slot}=") for slot, kinds in SLOTS.items()))


def _systems() -> RenderableType:
    from poise.report.systems import systems_table  # asks the slots themselves

    return systems_table()


def _data() -> RenderableType:
    rows = {SOURCES.value(name, "form"): text for name, text in summaries(SOURCES).items()}
    return _table(rows, ("--data", "what it is"))


def _diagnostics() -> RenderableType:
    after = {True: "every epoch, or after the search", False: "after the search"}
    rows = summaries(DIAGNOSTICS).items()
    return _table({name: f"{text} [{after[DIAGNOSTICS.value(name, 'per_epoch')]}]" for name, text in rows})


LISTS: dict[str, Callable[[], RenderableType]] = {
    "methods": _methods,
    "slots": _slots,
    "spaces": lambda: _table(summaries(SPACES)),
    "tasks": lambda: _table(summaries(TASKS)),
    "selections": lambda: _table(summaries(SELECTIONS)),
    "systems": _systems,
    "data": _data,
    "diagnostics": _diagnostics,
    "exports": lambda: _table(summaries(EXPORTS)),
    "trackers": lambda: _table(summaries(TRACKERS), ("--track", "what it is")),
}


LONG: dict[str, Callable[[], RenderableType]] = {"methods": _methods_cited}
"""Those of which there is more to say."""


def catalogue(what: str, long: bool = False) -> RenderableType:
    """The table of one kind of thing; ``long``: with citations. Raises `Refused` on an unknown kind."""
    if what not in LISTS:
        raise unknown("list", what, LISTS)
    return {**LISTS, **(LONG if long else {})}[what]()
