"""The settings of a run: everything that decides what it does, in one typed, frozen value. What they are is known
before torch is imported; what builds values of them is imported when it is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, field_validator

from poise.config.reading import first_problem
from poise.engine.settings import SearchSettings, Settings, Size, TrainSettings
from poise.errors import Refused, unknown
from poise.named import CUSTOM, FROM_PYTHON
from poise.registries import SLOTS


class DataSettings(Settings):
    """Where images come from, and how the training split is halved for a search."""

    source: str = "digits"
    size: Size | None = None
    """Resize every image to this height and width; None: as they are, which must then be one size. Of streamed images,
    the height and width of the crop."""
    streaming: bool = False
    """For retraining: read and decode every image when it is needed, instead of holding all in memory."""
    workers: Annotated[int, Field(ge=0, le=256)] | None = None
    """Processes that read and decode streamed images; None: 2; 0: the run itself does it."""
    search_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of the training split that trains weights; the rest trains alphas."""
    split_file: Path | None = None
    """A JSON file ``{"train": [...], "valid": [...]}`` that gives the two halves instead."""
    standardise: bool = True
    """Of samples that are no images: whether floats are standardised, feature by feature."""
    skip_bad_images: bool = False
    """Leave out images that cannot be read, and say which; else the first of them is refused by name."""

    @field_validator("source")
    @classmethod
    def _anywhere(cls, source: str) -> str:
        """Paths are absolute however they were given, so that a run means the same data in every folder."""
        from poise.data import source_name

        return source if source == FROM_PYTHON else source_name(source)

    @field_validator("split_file")
    @classmethod
    def _file_anywhere(cls, file: Path | None) -> Path | None:
        return None if file is None else file.absolute()


class RunSettings(Settings):
    """A search and the retraining of what it finds.

    ``task``, ``space`` and ``method`` are values. Their plain forms, a ``name`` and their fields, stand in files only:
    `poise.config.resolve` reads and writes them. ``method_name`` is where the method's slots came from.
    """

    data: DataSettings = DataSettings()
    task: Any
    space: Any
    method: Any
    method_name: str = CUSTOM
    search: SearchSettings = SearchSettings()
    train: TrainSettings = TrainSettings()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str = "auto"
    precision: str = "32"


def setting_names() -> list[str]:
    """Every dotted setting of `RunSettings`, slots' and spaces' own settings aside."""

    def names(model: type[Settings], prefix: str) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            if name == "method_name":  # which stands within ``method``
                continue
            inner = field.annotation
            if isinstance(inner, type) and issubclass(inner, Settings):
                found += names(inner, f"{prefix}{name}.")
            else:
                found.append(f"{prefix}{name}")
        return found

    return names(RunSettings, "") + [f"method.{slot}" for slot in (*SLOTS, "without")]


def unknown_setting(name: str) -> Refused:
    """The refusal of a dotted setting that there is not."""
    return unknown("setting", name, {*RunSettings.model_fields, *SLOTS, *setting_names()})


def check_setting(name: str, value: Any) -> None:
    """Raise `Refused` for a dotted name, or a value of it, that no run can have. What is the space's or a slot's own,
    and what several settings must agree on, is known when the settings are put together."""
    first, *rest = name.split(".")
    if first in SLOTS and not rest and isinstance(value, str):
        SLOTS[first].check(value)
    if first in (*SLOTS, "without", "task", "space", "method") or name == "data":
        return
    kind: Any = RunSettings
    for part in (first, *rest):
        field = getattr(kind, "model_fields", {}).get(part)
        if field is None:
            raise unknown_setting(name)
        kind, bounds = field.annotation, field.metadata
    try:
        TypeAdapter(Annotated[(kind, *bounds)] if bounds else kind).validate_python(value)
    except ValidationError as error:
        raise Refused(f"{name}: {first_problem(error)}") from None
