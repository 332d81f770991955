"""Plain values as Python source: every text goes through `repr`, so that no name can become code."""

from __future__ import annotations

import math

from poise.errors import Refused

WIDTH = 116


def literal(value: object, indent: int = 0, used: int = 0) -> str:
    """The source of a plain value, broken over lines where one line is too narrow.

    Args:
        value: None, bool, int, finite float, str, or lists, tuples and dicts of these.
        indent: spaces that the current line starts with.
        used: characters that stand before the value on its line.

    Raises:
        Refused: anything else; its source would not be a literal.
    """
    line = _flat(value)
    if type(value) is str and indent + used + len(line) > WIDTH and " " in value:
        pad, lines = " " * (indent + 4), _wrapped(value, WIDTH - indent - 10)
        return "(\n" + "".join(f"{pad}{_flat(part)}\n" for part in lines) + " " * indent + ")"
    if indent + used + len(line) <= WIDTH or not isinstance(value, dict | list | tuple) or not value:
        return line
    pad, inner = " " * indent, " " * (indent + 4)
    if isinstance(value, dict):
        entries = [f"{_flat(k)}: {literal(v, indent + 4, len(_flat(k)) + 3)}" for k, v in value.items()]
        left, right = "{", "}"
    else:
        entries = [literal(item, indent + 4, 1) for item in value]
        left, right = ("[", "]") if isinstance(value, list) else ("(", ")")
    return left + "\n" + "".join(f"{inner}{entry},\n" for entry in entries) + pad + right


def _wrapped(text: str, width: int) -> list[str]:
    """The text cut behind spaces into parts of about ``width``; joined, they are the text."""
    parts = [""]
    for word in text.split(" "):
        if parts[-1] and len(parts[-1]) + len(word) > width:
            parts.append("")
        parts[-1] += f"{word} "
    return [*parts[:-1], parts[-1][:-1]]


def _flat(value: object) -> str:
    # exact types: a subclass may have a repr of its own
    if value is None or type(value) in (bool, int) or (type(value) is float and math.isfinite(value)):
        return repr(value)
    if type(value) is str:
        # printable text has neither a quote of the other kind to mind nor anything to escape
        return f'"{value}"' if value.isprintable() and not set(value) & {'"', "\\"} else repr(value)
    if type(value) is dict:
        return "{" + ", ".join(f"{_flat(k)}: {_flat(v)}" for k, v in value.items()) + "}"
    if type(value) is list:
        return "[" + ", ".join(map(_flat, value)) + "]"
    if type(value) is tuple:
        return "(" + ", ".join(map(_flat, value)) + ("," if len(value) == 1 else "") + ")"
    raise Refused(f"cannot write a {type(value).__name__} as a plain Python value: {str(value)[:60]!r}")


def texts(value: object) -> set[str]:
    """Every text that occurs in a plain value."""
    if isinstance(value, str):
        return {value}
    if isinstance(value, dict):
        return texts(list(value)) | texts(list(value.values()))
    if isinstance(value, list | tuple):
        return {text for item in value for text in texts(item)}
    return set()
