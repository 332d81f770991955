"""What a person asks for by name, checked before torch is imported; the work itself asks the same functions again."""

from __future__ import annotations

import re
from pathlib import Path

from poise.errors import Refused, unknown
from poise.registries import METHODS, SOURCES, SPACES

PRESETS = ("demo", "small", "paper")
DEFAULT_PRESET = "small"
DEFAULT_SPACE = "darts"
DEFAULT_METHOD = "poise"
CUSTOM = "custom"
"""The name of a method whose slots are all that is said of it."""


def check_method(name: str) -> None:
    """Raise `Refused` unless a search can be asked for by this method's name."""
    if name != CUSTOM:
        METHODS.check(name)


def check_preset(preset: object, space: str) -> None:
    """Raise `Refused` unless the space, and the preset of it, exist."""
    presets = SPACES.value(space, "presets")
    if preset not in list(presets):  # what a file says need not be a text, nor hashable
        raise unknown("preset", preset, presets)


def check_data(spec: str) -> None:
    """Raise `Refused` where no data can be meant: nothing is there, and no source's form begins as the text does."""
    forms = [SOURCES.value(name, "form") for name in SOURCES]
    beginnings = [found[0] for found in map(re.compile(r"[\w-]+").match, forms) if found]
    path = path_of(spec)
    try:
        there = path is not None and path.exists()
    except (OSError, ValueError):  # no file can have that name
        return
    if not there and not any(spec.startswith(beginning) for beginning in beginnings):
        raise no_data(spec, forms)


def no_data(spec: object, forms: list[str]) -> Refused:
    """The refusal of what is no data; ``forms`` are those that exist."""
    path = path_of(spec)
    if path is None:
        return Refused(f"cannot read data from {type(spec).__name__} {spec!r:.60}, expected one of: {'; '.join(forms)}")
    if path.exists():
        return Refused(f"{path} is a file of unknown kind {path.suffix!r}, expected one of: {'; '.join(forms)}")
    if len(path.parts) > 1:
        return Refused(f"no such file or folder: {path}")
    return Refused(f"no such file or folder: {path}; {unknown('data source', spec, forms)}")


def path_of(spec: object) -> Path | None:
    """``spec`` as a path, with ``~`` expanded, if it is a string or a path."""
    if not isinstance(spec, str | Path):
        return None
    try:
        return Path(spec).expanduser()
    except RuntimeError:  # nobody of this name
        return Path(spec)
