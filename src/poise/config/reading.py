"""Configuration text as plain values: a strict part of YAML, read in bounded time and memory.

What comes out is made of dicts with text keys, lists, texts, 64-bit whole numbers, finite numbers, bools and None.
Tags, aliases, keys that stand twice and deep nesting are refused: nothing in a file can run, and no small file can
become a large value. A date is a text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from poise.errors import Refused, shown

if TYPE_CHECKING:
    from pydantic import ValidationError

LARGEST = 64 * 1024
"""Bytes of a configuration, looked at before it is parsed; one that is written out in full has about 2,000."""
DEEPEST = 20
"""Lists and mappings within each other."""

_PLAIN = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map")}


def one_line(text: str, most: int = 80) -> str:
    """The start of a text for a refusal: as it is, or escaped where it could not be printed (or would act on a
    terminal)."""
    return text[:most] if text.isprintable() else ascii(text)[:most]


class _Loader(yaml.SafeLoader):
    """Builds nodes as `yaml.SafeLoader` does, less what is refused here."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class declares it so
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _problem("an alias (*) is not read here; write the value out", event)
        if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None) is not None:
            raise _problem("a tag (!) is not read here", event)
        if self.depth > DEEPEST:
            raise _problem(f"lists and mappings stand at most {DEEPEST} deep in each other", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _problem(text: str, place: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=place.start_mark)


def parse_yaml(text: str, what: str) -> Any:
    """The plain value of a YAML text.

    Args:
        text: the YAML.
        what: what it is, for the refusal: ``the configuration run.yaml``.

    Raises:
        Refused: it is longer than `LARGEST`, no YAML, or uses what is refused here.
    """
    if len(text) > LARGEST:
        raise Refused(f"{what} is too long: at most {LARGEST:,} bytes, got {len(text):,}")
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _value(node, loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise Refused(
            f"{what} is not valid YAML: {place}{one_line(str(error.problem or error.context), 200)}"
        ) from None
    except yaml.reader.ReaderError as error:
        raise Refused(f"{what} is not valid YAML: character {error.position + 1} may not stand in it") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise Refused(f"{what} is not valid YAML") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as plain values. Raises `Refused` for a file of more than `LARGEST` bytes before it is parsed."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8") if len(content) <= LARGEST else ""
    except OSError as error:
        raise Refused(f"cannot read the configuration {one_line(str(path), 400)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"the configuration {path} is not valid YAML: it is not UTF-8 text") from None
    except ValueError:  # NUL in the path
        raise Refused(f"cannot read the configuration {one_line(str(path), 400)}: no file has that name") from None
    if len(content) > LARGEST:
        raise Refused(f"the configuration {path} is too long: a configuration has at most {LARGEST:,} bytes")
    value = parse_yaml(text, f"the configuration {path}")
    if not isinstance(value, dict):
        raise Refused(f"the configuration {path} must map settings to values, got {type(value).__name__}")
    return value


def parse_override(text: str) -> tuple[str, Any]:
    """``search.epochs=3`` -> ``("search.epochs", 3)``; the value is YAML."""
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not name:
        raise Refused(f"an override has the form name=value, got {shown(text)}")
    return name, parse_yaml(value, f"the value of {shown(name)}")


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, in one line."""
    problem = error.errors(include_url=False)[0]
    place = one_line(".".join(str(part)[:80] for part in problem["loc"]))
    if problem["type"] == "value_error":  # of a validator of ours, which says all there is to say
        text = str(problem["ctx"]["error"])
    else:
        text = f"{problem['msg']}, got {shown(problem.get('input'))}"
    return f"{place}: {text}" if place else text


def _value(node: yaml.Node, loader: _Loader) -> Any:
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = _value(key_node, loader)
            if not isinstance(key, str):
                raise _problem(f"a setting's name must be text, got {key!r:.60}", key_node)
            if key in found:
                raise _problem(f"{key!r:.60} stands twice", key_node)
            found[key] = _value(value_node, loader)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, loader) for item in node.value]
    return _scalar(node, loader)


def _scalar(node: yaml.Node, loader: _Loader) -> Any:
    try:
        value = loader.construct_object(node)
    except (ValueError, OverflowError):  # such as 0b_, or more digits than Python reads
        raise _problem("this is not a number", node) from None
    if isinstance(value, str) and "\0" in value:
        raise _problem("a text holds the character NUL", node)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise _problem("a whole number must fit 64 bits", node)
    if isinstance(value, float) and not math.isfinite(value):
        raise _problem("a number must be finite", node)
    return value


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested mappings by their dotted names: ``search.epochs``."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
