"""From names, presets, a file and overrides to one `RunSettings`.

Later layers win: built-in defaults < the space's preset < what the method was published with (slot settings that
depend on the space always; everything else with ``preset="paper"`` only, and on spaces for images) < the file <
overrides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from poise.config.reading import first_problem, one_line, read_yaml
from poise.config.settings import RunSettings, unknown_setting
from poise.config.values import build_method, check_plain, check_registered, from_facts, plain
from poise.costs.target import CostTarget
from poise.data import source_name
from poise.errors import Refused, shown, unknown
from poise.methods.aiming import aimed
from poise.methods.method import Method
from poise.methods.preset import METHODS
from poise.methods.slots import SLOTS
from poise.named import CUSTOM, DEFAULT_METHOD, DEFAULT_PRESET, DEFAULT_SPACE, DEFAULT_TASK, check_method, check_preset
from poise.registries import TASKS
from poise.spaces.space import SPACES, ImageShape, Space, shape_kind

Plain = dict[str, Any]


def resolve(
    *,
    task: Any = None,
    space: str | Space | None = None,
    method: str | Method | None = None,
    preset: str | None = None,
    file: Path | None = None,
    overrides: Sequence[tuple[str, Any]] = (),
    data: Any = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    cost_target: CostTarget | None = None,
) -> RunSettings:
    """The settings of a run.

    Args:
        task, space, method: names, or values, which are then taken as they are; no task: the usual one of the space.
        preset: ``demo``, ``small`` (default) or ``paper``, or another one that the space has, such as ``imagenet``.
        file: a YAML file with the same structure as the result; it may also say ``preset``.
        overrides: dotted names and values; a slot's name alone means ``method.<slot>``.
        data: the data of the run, in any form that is read; what is no text or path is called ``python``.
        seed, device, precision: settings of these names, if not None.
        cost_target: ``search.target``; it changes the method's penalty and selection, see `aimed`.
    """
    layer = read_yaml(file) if file else {}
    given = layer.pop("preset", None)
    preset = next((name for name in (preset, given) if name is not None), DEFAULT_PRESET)
    settings: Plain = {}
    _add_space(settings, space if space is not None else _named(layer, "space"), preset)
    named = isinstance(space, str) or space is None
    _add_method(settings, method if method is not None else _named(layer, "method"), preset, named)
    _add_task(settings, task if task is not None else _named(layer, "task"), space)
    for section in ("task", "space", "method"):
        if isinstance(layer.get(section), dict):
            layer[section] = {name: value for name, value in layer[section].items() if name != "name"}
        else:
            layer.pop(section, None)
    _merge(settings, layer)
    if data is not None:
        _merge(settings, {"data": {"source": source_name(data)}})
    _merge(settings, {n: v for n, v in (("seed", seed), ("device", device), ("precision", precision)) if v is not None})
    target = [] if cost_target is None else [("search.target", asdict(cost_target))]
    value = None if space is None or isinstance(space, str) or space.name in SPACES else space
    resolved = _overridden(settings, [*overrides, *target], value, task)
    return resolved.model_copy(update={"method": aimed(resolved.method)}) if target else resolved


def override(settings: RunSettings, overrides: Sequence[tuple[str, Any]]) -> RunSettings:
    """The settings with dotted names set to other values."""
    value = None if settings.space.name in SPACES else settings.space
    return _overridden(plain_form(settings), overrides, value, settings.task)


def _overridden(
    values: Plain, overrides: Sequence[tuple[str, Any]], space: Space | None, task: Any = None
) -> RunSettings:
    """``space``, and a ``task`` with facts: such that no configuration can build, which are taken as they are."""
    for name, value in overrides:
        _set(values, name, value)
    method = values["method"]
    try:
        resolved = RunSettings.model_validate(values | {"method_name": method["name"]})
    except ValidationError as error:
        raise _refusal(error) from None
    built = build_method({name: value for name, value in method.items() if name != "name"})
    task = task if hasattr(task, "facts") else _built(TASKS, values, "task")
    made = {"task": task, "space": space or _built(SPACES, values, "space")}
    return resolved.model_copy(update={"method": built, **made})


def _built(registry: Mapping[str, Any], values: Plain, section: str) -> Any:
    """The value of a section, from its name and its fields; of what no file can build, what stands in for it."""
    # Runs of an earlier poise say of a space what is ``excluded`` and ``kept``: nothing.
    said = {n: v for n, v in values[section].items() if n != "name" and (v or n not in ("excluded", "kept"))}
    return from_facts(registry[values[section]["name"]], said, section)


def plain_form(settings: RunSettings) -> Plain:
    """The settings as a file holds them: dicts, lists and literals, in the order of the fields."""
    form = settings.model_dump(mode="json", exclude={"task", "space", "method", "method_name"})
    # Written out in full: what a slot leaves to its defaults today must not depend on tomorrow's.
    method = {"name": settings.method_name} | plain(settings.method)
    task, space = _said(settings.task, TASKS), _said(settings.space, SPACES)
    return {"data": form.pop("data"), "task": task, "space": space, "method": method, **form}


def _said(value: Any, registry: Mapping[str, Any]) -> Plain:
    """What a file says of a task or a space: its name, and its fields; of one that no file can build its facts."""
    facts: Plain = getattr(value, "facts", {})
    return {"name": value.name} | (facts if facts or value.name not in registry else plain(value))


def _named(layer: Plain, section: str) -> str | None:
    value = layer.get(section)
    name = value.get("name") if isinstance(value, dict) else value
    if name is not None and not isinstance(name, str):
        raise Refused(f"{section}.name must be a name, got {shown(name)}")
    return name


def _add_space(settings: Plain, space: str | Space | None, preset: str) -> None:
    if isinstance(space, str) or space is None:
        name = DEFAULT_SPACE if space is None else space
        check_preset(preset, name)
        cls = SPACES[name]
        _merge(settings, {"space": {"name": name} | plain(cls())})
        _merge(settings, dict(cls.presets[preset]))
    else:
        if space.name in SPACES and SPACES[space.name] is not type(space):
            raise Refused(
                f"{type(space).__name__} has another space's name, {space.name!r}: give the class a name of its own"
            )
        if preset not in list(space.presets):
            raise unknown("preset", preset, space.presets)
        # A value is taken as it is: only the other sections of its preset apply.
        others = {name: section for name, section in space.presets[preset].items() if name != "space"}
        _merge(settings, {"space": _said(space, SPACES)} | others)


def _add_task(settings: Plain, task: Any, space: str | Space | None) -> None:
    """None: the usual task of the space."""
    kind = shape_kind(SPACES[settings["space"]["name"]] if space is None or isinstance(space, str) else space)
    if task is None:
        task = next(name for name in (DEFAULT_TASK, *TASKS) if kind in TASKS[name].shapes)
    if not isinstance(task, str) and TASKS.get(getattr(task, "name", "")) is not type(task):
        raise Refused(
            f"{shown(task)} is no task: give a name of poise list tasks, or a value of a class with @TASKS.add"
        )
    value = TASKS[task]() if isinstance(task, str) else task
    settings["task"] = _said(value, TASKS)
    _merge(settings, value.defaults)


def _add_method(settings: Plain, method: str | Method | None, preset: str, named: bool) -> None:
    """``named``: whether the space is one by name; one that is a value is taken as it is."""
    if isinstance(method, Method):
        check_registered(method)
        settings["method"] = {"name": "custom"} | plain(method)
        return
    name = DEFAULT_METHOD if method is None else method
    check_method(name)
    if name == CUSTOM:
        settings["method"] = {"name": name} | plain(Method())
        return
    found = METHODS[name]
    settings["method"] = {"name": name} | plain(found.build())
    space = settings["space"]["name"]
    for scope in {*found.settings, *found.published} - {"*"}:
        if scope not in SPACES:
            raise unknown(f"space in the settings of method {name!r}", scope, SPACES)
    for_images = (
        space not in SPACES or shape_kind(SPACES[space]) is ImageShape
    )  # so is what was published with a method
    for scope in ("*", space):
        for key, value in found.settings.get(scope, {}).items():
            _set(settings, f"method.{key}", value)
        if preset == "paper" and for_images:
            for key, value in found.published.get(scope, {}).items():
                if named or not key.startswith("space."):
                    _set(settings, key, value)


def _merge(base: Plain, layer: Mapping[str, Any]) -> None:
    """Merge nested dicts in place. A slot whose kind changes is replaced, not mixed with the settings of the old
    kind."""
    for name, value in layer.items():
        old = base.get(name)
        if not isinstance(value, Mapping):
            base[name] = value
        elif isinstance(old, dict) and ("kind" not in old or value.get("kind", old["kind"]) == old["kind"]):
            _merge(old, value)
        else:
            base[name] = deepcopy(dict(value))


def _set(settings: Plain, dotted: str, value: Any) -> None:
    """Set a dotted name."""
    check_plain(value, dotted)
    parts = dotted.split(".")
    if parts[0] in SLOTS or parts[0] == "without":
        parts = ["method", *parts]
    if parts[0] not in RunSettings.model_fields:
        raise unknown_setting(dotted)
    if dotted in ("task", "space", "method", "data") or (
        parts[0] in ("task", "space", "method") and parts[1:] == ["name"]
    ):
        raise Refused(
            f"{one_line(dotted)} is chosen with --{parts[0]} {one_line(str(value))} "
            f"(in Python: {parts[0]}={shown(value)}), not as a setting"
        )
    place = settings
    for part in parts[:-1]:
        inner = place.setdefault(part, {})
        if inner is None:
            inner = place[part] = {}
        if isinstance(inner, str) and parts[0] == "method":
            inner = place[part] = {"kind": inner}
        if not isinstance(inner, dict):
            raise Refused(f"{shown(dotted)}: {shown(part)} holds {shown(inner)}, which has no settings")
        place = inner
    if parts[0] == "method" and len(parts) == 2 and parts[1] in SLOTS and isinstance(value, str):
        value = {"kind": value}
    place[parts[-1]] = value


def _refusal(error: ValidationError) -> Refused:
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "extra_forbidden":
        return unknown_setting(".".join(str(part) for part in problem["loc"]))
    return Refused(first_problem(error))


def dump(settings: RunSettings) -> str:
    """The settings as YAML; `resolve` with this as its file gives them back."""
    return yaml.dump(plain_form(settings), Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    """Writes equal values out as often as they occur: `read_yaml` reads no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
