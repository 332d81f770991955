"""Frozen dataclasses (methods, slots, spaces) as plain dicts, and back, with one-line refusals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from poise.config.reading import first_problem, one_line
from poise.errors import Refused, shown, unknown
from poise.methods.method import Method
from poise.methods.penalty import Sum
from poise.methods.slots import SLOTS


def check_plain(value: object, where: str) -> None:
    """Raise `Refused` where a value given in Python holds what no configuration file may: numbers that are not finite
    or exceed 64 bits, NUL, nesting without end."""
    try:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                check_plain(name, where)
                check_plain(inner, where)
        elif isinstance(value, (list, tuple)):
            for inner in value:
                check_plain(inner, where)
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise Refused(f"{one_line(where)}: a whole number must fit 64 bits")
        elif isinstance(value, float) and not math.isfinite(value):
            raise Refused(f"{one_line(where)}: a number must be finite, got {value}")
        elif isinstance(value, str) and "\0" in value:
            raise Refused(f"{one_line(where)}: a text holds the character NUL")
    except RecursionError:
        raise Refused(f"{one_line(where)}: the value is nested too deeply") from None


def plain(value: Any) -> Any:
    """A value as dicts, lists and literals; a slot's value carries its ``kind``."""
    if isinstance(value, Sum):
        return [plain(term) for term in value.terms]
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": value.kind} if hasattr(value, "kind") else {}
        return kind | {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    """``cls(**values)`` with every value converted to its field's type; ``where`` is the dotted name shown in
    refusals."""
    hints = get_type_hints(cls)
    known = {field.name: hints[field.name] for field in fields(cls)}
    given = {}
    for name, value in values.items():
        if name not in known:
            raise unknown(f"setting of {where}", name, known)
        try:
            given[name] = TypeAdapter(known[name]).validate_python(value)
        except ValidationError as error:
            raise Refused(f"{where}.{name}: {first_problem(error)}") from None
        if isinstance(given[name], float) and not math.isfinite(given[name]):
            raise Refused(f"{where}.{name} must be a finite number, got {shown(value)}")
    required = [field.name for field in fields(cls) if field.default is field.default_factory is MISSING]
    missing = [name for name in required if name not in given]
    if missing:
        raise Refused(f"{where} needs a value for {', '.join(missing)}")
    return cls(**given)


def from_facts(cls: Any, values: Mapping[str, Any], where: str) -> Any:
    """`build`, or of what no file can build, and which has facts instead of fields, what stands in for it."""
    stand_in = getattr(cls, "of_facts", None)
    return build(cls, values, where) if stand_in is None else stand_in(values)


def build_slot(slot: str, value: Any) -> Any:
    """A slot's value from ``"kind"``, ``{"kind": ..., setting: ...}``, or, for penalties, a list of these that add
    up."""
    if slot == "penalty" and isinstance(value, (list, tuple)):
        return Sum(tuple(build_slot(slot, term) for term in value))
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise Refused(f"method.{slot} needs a kind, one of {', '.join(SLOTS[slot])}; got {shown(value)}")
    settings = {name: setting for name, setting in value.items() if name != "kind"}
    return build(SLOTS[slot][value["kind"]], settings, f"method.{slot}")


def check_registered(method: Method) -> None:
    """Raise `Refused` where a slot holds what no configuration can name: written down and read again, the method would
    be another one."""
    for slot, kinds in SLOTS.items():
        value = getattr(method, slot)
        for part in value.terms if isinstance(value, Sum) else (value,):
            kind = getattr(part, "kind", "")
            if kind not in kinds or kinds[kind] is not type(part):
                register = "@selects()" if slot == "selection" else f'@fills("{slot}")'
                raise Refused(
                    f"the slot {slot} holds a {type(part).__name__}, which is not registered: give the class a kind of "
                    f"its own and decorate it with {register}"
                )


def build_method(values: Mapping[str, Any]) -> Method:
    """A `Method` from the plain form of its slots."""
    known = [field.name for field in fields(Method)]
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise unknown("slot", name, known)
        given[name] = build_slot(name, value) if name in SLOTS else _candidates(name, value)
    return Method(**given)


def _candidates(name: str, value: Any) -> tuple[str, ...]:
    """What is no slot: ``without``, a list of names."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(item, str) for item in names):
        raise Refused(f"method.{name} must be a list of candidates, got {shown(value)}")
    return tuple(names)
