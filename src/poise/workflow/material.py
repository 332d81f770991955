"""What a search is made of on the side of the data, by what its space is for: images or text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Any, ClassVar, Protocol

from poise.config.settings import RunSettings
from poise.data.batched import Batched
from poise.engine.device import Place
from poise.errors import Refused
from poise.spaces.space import AnyTask, Space, Task, TextTask, task_kind
from poise.workflow.images import ImageMaterial
from poise.workflow.text import TextMaterial


class Material(Protocol):
    """The data of a search: opened when it is first asked for, and loaded when it is needed."""

    unit: ClassVar[str]
    """What halves are made of: ``images``, ``words``."""
    about: ClassVar[str]
    """What it is: ``images``, ``text``."""
    unused: ClassVar[tuple[str, ...]]
    """Settings that mean nothing for it."""

    def __init__(self, settings: RunSettings, space: str, spec: Any, place: Place) -> None: ...

    @property
    def source(self) -> Any:
        """The data, opened but not loaded. Raises `Refused` if it is of another kind than the space is for."""
        ...

    @property
    def halves(self) -> Sequence[Sized]:
        """What trains the weights, and what trains the alphas. The test split is not touched."""
        ...

    @property
    def fingerprint(self) -> str:
        """Of what the search sees."""
        ...

    @property
    def task(self) -> AnyTask:
        """What the supernet is for."""
        ...

    @property
    def batches(self) -> tuple[Batched, Batched]:
        """Batches of the two halves."""
        ...


KINDS: Mapping[type, type[Material]] = {Task: ImageMaterial, TextTask: TextMaterial}
"""What a space is for -> the material of its searches."""


def material_of(settings: RunSettings, space: Space, spec: Any, place: Place) -> Material:
    """The material of a search of this space. Raises `Refused` for settings that mean nothing for such data."""
    kind = KINDS[task_kind(space)]
    check_settings(settings, kind.unused, f"space {space.name!r} is for {kind.about}")
    return kind(settings, space.name, spec, place)


def check_settings(settings: RunSettings, unused: Sequence[str], why: str) -> None:
    """Raise `Refused` for the first of these dotted settings that is not what it is by default."""
    for name in unused:
        value: Any = settings
        default: Any = None
        for part in name.split("."):
            default = type(value).model_fields[part].get_default(call_default_factory=True)
            value = getattr(value, part)
        if value != default:
            raise Refused(f"{name} means nothing here: {why}")
