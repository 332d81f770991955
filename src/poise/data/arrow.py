"""The columns of Arrow tables: what they hold, and the names of classes that the Hub's metadata has for them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa


def kinds_of(schema: Any) -> dict[str, str]:
    """What each column holds, as `Labels.choose` takes it."""
    return {name: _kind(schema.field(name).type) for name in schema.names}


def class_names(schema: Any, column: str) -> tuple[str, ...]:
    """The names of the classes in the Hub's metadata, ``()`` if a table has none."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        about = features[column]
        names = (about.get("feature", about) if isinstance(about, dict) else about[0])["names"]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return ()
    return tuple(str(name) for name in names)


def _kind(kind: Any) -> str:
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "whole"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "list"
    return "image" if pa.types.is_struct(kind) or pa.types.is_binary(kind) else "other"
