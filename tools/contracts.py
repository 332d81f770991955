"""Import contracts over what the registries hold, so that a new file is under them without being named anywhere.

Where a contract of `.importlinter` lists modules, it may name a registry of `poise.registries` instead: `SLOTS` stands
for every file that registers what fills a slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.domain import fields
from importlinter.domain.imports import ModuleExpression

from poise import registries


def _modules(name: str) -> Iterator[str]:
    found: Any = getattr(registries, name, None)
    for registry in found.values() if isinstance(found, dict) else [] if found is None else [found]:
        yield from registry.modules
    if found is None:
        yield name


class Registered(fields.Field):
    """Modules, or registries whose files are meant."""

    def parse(self, raw_data: str | list[str]) -> set[ModuleExpression]:
        names = [raw_data] if isinstance(raw_data, str) else raw_data
        return {fields.ModuleExpressionField().parse(module) for name in names for module in _modules(name)}


class Independent(IndependenceContract):
    """None of these files knows another."""

    modules = Registered()


class Unknown(ForbiddenContract):
    """None of these files is known there."""

    forbidden_modules = Registered()
