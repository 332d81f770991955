"""The generated tables of the documentation. ``python tests/docs/docs_tables.py`` writes them; a test compares them."""

from __future__ import annotations

import ast
import configparser
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

import published
from docs_support import PAGES, RESULTS, ROOT
from torch import nn

import poise
from poise.bench.protocol import PROTOCOLS
from poise.config.resolve import resolve
from poise.config.settings import RunSettings
from poise.data.source import SOURCES
from poise.engine.settings import Settings
from poise.methods.method import Method
from poise.methods.preset import METHODS
from poise.methods.slots import SLOTS
from poise.report.systems import CURES, PLAIN, Matrix, bases, systems
from poise.spaces import SPACES, ModuleSpace

_MARK = re.compile(r"(<!-- generated: ([^>]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

OTHERS = {
    "data.source": "What `--data` says.",
    "seed": "Of everything random.",
    "device": "`auto`, `cpu`, `cuda` or `mps`.",
    "precision": "`32`, `tf32`, `64` or `bf16-mixed`.",
    "task": "The task: a name and its fields.",
    "space": "The space: a name and its fields.",
    "method": "The method: a name and its slots.",
    "search.epochs": "Passes over the training half.",
    "search.batch_size": "Images per batch of either half.",
    "train.channels": "Channels of the network's first cells. Unset: the space's published size.",
    "train.drop_path": "The probability of drop-path, reached linearly over the epochs.",
    "train.cells": "Cells of the network, per stage in NAS-Bench-201. Unset: the space's published size.",
    "train.epochs": "Passes over the training split.",
    "train.batch_size": "Images per batch.",
    "label_smoothing": "The share of the target that is spread over all classes.",
    "learning_rate": "At the start.",
    "final_learning_rate": "At the end of the cosine.",
    "momentum": "SGD's momentum.",
    "nesterov": "Whether the momentum is Nesterov's.",
    "weight_decay": "L2 penalty.",
    "betas": "Adam's.",
    "crop_padding": "Random crops of the image with so many pixels of black around it.",
    "flip": "Mirror at random.",
    "cutout": "Side of the square that is cut out; 0: none.",
}
"""What settings without a docstring mean, by their whole or their last name."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head)]
    lines.append(["---"] * len(lines[0]))
    lines += [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(value: object) -> str:
    return f"`{value}`"


def shown(value: Any) -> str:
    """A value as one would write it after ``--set name=``."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(shown(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def arxiv(citation: str) -> str:
    number = re.search(r"arXiv:([\d.]+\d)", citation)
    assert number, citation
    name = re.split(r"[,:]| et al", citation)[0]
    year = re.search(r"(20\d\d),", citation)
    return f"[{name} {year[1] if year else ''}](https://arxiv.org/abs/{number[1]})"


def runs(method: str, space: Any) -> bool:
    """Whether the method's slots accept the space, as a search would find out."""
    try:
        settings = resolve(space=space, method=method, preset="small")
        value = settings.method
        built = settings.space if isinstance(space, str) else space
        value.check(value.searched(built)[1], settings.search.epochs)
    except poise.Refused:
        return False
    return True


def own(group: str | None) -> ModuleSpace:
    def choice() -> poise.Choice:
        return poise.Choice({"relu": nn.ReLU(), "tanh": nn.Tanh()}, group=group)

    return ModuleSpace(nn.Sequential(choice(), choice()))


def methods_and_spaces() -> str:
    def cell(name: str) -> str:
        if runs(name, own(None)):
            return "✓"
        return "✓ with a shared group" if runs(name, own("shared")) else "–"

    together = [[space for space in SPACES if re.fullmatch(family, space)] for family in (r"nasbench1shot1-\d", r"s\d")]
    columns = {code(space): [space] for space in SPACES if not any(space in family for family in together)}
    columns |= {" ".join(map(code, family)): family for family in together}
    rows = [
        [code(name), found.summary.rstrip(".").replace("``", "`"), arxiv(found.citation)]
        + ["✓" if all(runs(name, space) for space in spaces) else "–" for spaces in columns.values()]
        + [cell(name)]
        for name, found in METHODS.items()
    ]
    return table(["method", "what it is", "paper", *columns, "your module"], rows)


def method_slots() -> str:
    rows = []
    for name, found in METHODS.items():
        method, base = found.build(), Method()
        changed: list[str] = []
        for slot in SLOTS:
            value = getattr(method, slot)
            if type(value) is not type(getattr(base, slot)):
                changed.append(f"{slot}={value.kind}")
            own_fields: list[Any] = list(fields(value))
            changed += [
                f"{slot}.{field.name}={shown(getattr(value, field.name))}"
                for field in own_fields
                if getattr(value, field.name) != field.default
            ]
        changed += [f"without={shown(method.without)}"] if method.without else []
        rows.append([code(name), ", ".join(map(code, changed)) or "the defaults"])
    return table(["method", "slots that differ from `darts`"], rows)


def first_paragraph(item: Any) -> str:
    """The first paragraph of a docstring, as Markdown."""
    text = " ".join((inspect.getdoc(item) or "").split("\n\n")[0].split())
    return text.replace("``", "`")


def slots() -> str:
    rows = []
    for slot, kinds in SLOTS.items():
        for kind, cls in kinds.items():
            found: list[Any] = list(fields(cls))
            values = [
                f"`{f.name}`" + (f" = {shown(f.default)}" if isinstance(f.default, (int, float, str, tuple)) else "")
                for f in found
            ]
            rows.append([code(slot), code(kind), code(cls.__name__), ", ".join(values), first_paragraph(cls)])
    return table(["slot", "kind", "in Python", "settings and defaults", "what it is"], rows)


def _docstrings(cls: type) -> dict[str, str]:
    """Attribute docstrings of a class and its bases: the string below each field."""
    found: dict[str, str] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.startswith("poise."):
            (node,) = ast.parse(inspect.getsource(each)).body
            assert isinstance(node, ast.ClassDef)
            for field, text in zip(node.body, node.body[1:], strict=False):
                if (
                    isinstance(field, ast.AnnAssign)
                    and isinstance(text, ast.Expr)
                    and isinstance(text.value, ast.Constant)
                ):
                    found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def settings_rows(model: type[Settings] = RunSettings, prefix: str = "") -> list[list[str]]:
    rows = []
    texts = _docstrings(model)
    for name, field in model.model_fields.items():
        full = f"{prefix}{name}"
        if full == "method_name":  # which stands within `method`
            continue
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            rows += settings_rows(field.annotation, f"{full}.")
        else:
            default = "" if field.is_required() else shown(field.default)
            text = OTHERS.get(full) or texts.get(name) or OTHERS[name]
            rows.append([code(full), default, text.replace("``", "`").replace("None:", "Unset:")])
    return rows


def presets() -> str:
    def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in values.items():
            inner = isinstance(value, Mapping)
            found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": shown(value)}
        return found

    parts = []
    by_presets: dict[str, list[str]] = {}
    for name, cls in SPACES.items():
        by_presets.setdefault(repr(cls.presets), []).append(name)
    for names in by_presets.values():
        values = {preset: flat(found) for preset, found in SPACES[names[0]].presets.items()}
        keys = dict.fromkeys(key for preset in values for key in values[preset])
        rows = [[code(key), *(values[preset].get(key, "") for preset in values)] for key in keys]
        parts.append(table([", ".join(map(code, names)), *map(code, values)], rows))
    return "\n".join(parts)


def published_settings() -> str:
    """Per family of spaces a table: what was published, and what ``--preset paper`` makes of it."""
    families: dict[str, list[str]] = {}
    for row in published.ROWS:
        family = re.sub(r"^(nasbench1shot1-|s)\d$", r"\1", row.space)
        if row.space not in families.setdefault(family, []):
            families[family].append(row.space)
    parts = []
    for spaces in families.values():
        lines: dict[tuple[str, str, str, str, str], dict[str, None]] = {}
        for row in published.ROWS:
            if row.space in spaces:
                line = (row.setting, shown(row.value), shown(row.resolved), row.source, row.why)
                lines.setdefault(line, {})[row.method] = None
        first = list(dict.fromkeys(setting for setting, *_ in lines))
        rows = [
            [code(setting), ", ".join(map(code, methods)), value, found if found == value else f"**{found}**",
             published.SOURCES[source], why]
            for (setting, value, found, source, why), methods in sorted(
                lines.items(), key=lambda line: first.index(line[0][0])
            )
        ]  # fmt: skip
        head = f"setting on {', '.join(map(code, spaces))}"
        parts.append(table([head, "methods", "published", "`--preset paper`", "source", "why poise differs"], rows))
    return "\n".join(parts)


def layers() -> str:
    read = configparser.ConfigParser()
    read.read(ROOT / ".importlinter")
    return f"```text\n{read['importlinter:contract:layers']['layers'].strip()}\n```\n"


def protocols() -> str:
    rows = [
        [
            code(name), found.about, code(found.space), code(found.preset),
            ", ".join(code(f"{setting}={shown(value)}") for setting, value in found.settings.items()),
            f"{found.random_cells} × {found.random_epochs}",
        ]
        for name, found in PROTOCOLS.items()
    ]  # fmt: skip
    return table(["protocol", "what it is", "space", "preset", "settings on top", "random: cells × epochs"], rows)


def measured(number: int, *heads: str) -> str:
    """A table of the report, by its number, cut down to these columns."""
    parts = (RESULTS / "nb201-small/report.md").read_text(encoding="utf-8").strip().split("\n\n")
    rows = [line.strip("| ").split(" | ") for line in parts[number].splitlines()]
    chosen = [rows[0].index(head) for head in heads] if heads else list(range(len(rows[0])))
    return "".join(f"| {' | '.join(row[column] for column in chosen)} |\n" for row in rows)


def what_runs() -> str:
    """Per base a table of spaces and cures, and the reasons of what is refused."""
    spaces = list(SPACES)
    found = Matrix.of(spaces)
    cures = ["no cure" if cure == PLAIN else code(cure) for cure in CURES]
    parts = []
    for base in bases():
        rows = [[code(space), *marks] for space, *marks in found.rows(base, spaces)]
        parts.append(table([f"base {code(base)}", *cures], rows))
    reasons = [f"{number}. {reason}\n" for number, reason in enumerate(found.reasons, start=1)]
    return "\n".join([*parts, "".join(reasons)] if reasons else parts)


def commands() -> str:
    rows = [
        [code(found.base), "" if found.cure == PLAIN else code(found.cure), code(found.command)] for found in systems()
    ]
    return table(["base", "cure", "command, with `--data` and `--space`"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "protocols": protocols,
    "methods and spaces": methods_and_spaces,
    "method slots": method_slots,
    "published settings": published_settings,
    "slots": slots,
    "what runs": what_runs,
    "commands": commands,
    "data sources": lambda: table(
        ["`--data`", "what it is"], [[k.form, first_paragraph(k).replace("*", "\\*")] for k in SOURCES.values()]
    ),
    "settings": lambda: table(["setting", "default", "meaning"], settings_rows()),
    "presets": presets,
    "layers": layers,
    "nb201-small: what was found": lambda: measured(
        0, "contestant", "seeds", "mean ± std", "worst", "once held", "percentile", "p DARTS", "p random", "seconds"
    ),
    "nb201-small: checks": lambda: measured(
        0, "contestant", "mean ± std", "95 %", "regret", "p chance", "tau", "c100_test_200", "in16_test_200"
    ),
    "nb201-small: inside": lambda: measured(1),
    "nb201-small: guards": lambda: measured(2),
    "nb201-small: indicators": lambda: measured(3),
}


def filled(text: str) -> str:
    """A page with its tables as they should be."""
    return _MARK.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[4]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")
