"""What registries read from the sources is what importing these registers."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import poise
from poise import registries
from poise.declared import Unreadable, declared_in, fields_made
from poise.errors import Refused
from poise.methods.method import Method
from poise.methods.preset import METHODS
from poise.registry import Registry

ALL = {name: found for name, found in vars(registries).items() if isinstance(found, Registry)}
ALL |= {f"SLOTS[{slot!r}]": found for slot, found in registries.SLOTS.items()}


def fresh(registry: Registry[Any]) -> Registry[Any]:
    """The same registry before anything was imported."""
    return Registry(registry.kind, registry._package, registry._decorator)


@pytest.mark.parametrize("name", ALL)
def test_names_docs_and_values_read_are_those_registered(name: str) -> None:
    imported, read = ALL[name], fresh(ALL[name])
    items = dict(imported.items())
    assert set(read) == set(items) == set(imported._items)
    assert read._declared is not None
    for each, item in items.items():
        assert read._declared[each].doc in (imported._docs[each], None)
        for attribute, value in read._declared[each].values.items():
            if hasattr(item, attribute):
                assert value == getattr(item, attribute), (each, attribute)
                assert type(value) is type(getattr(item, attribute))


def test_slots_are_the_fields_of_a_method_that_hold_a_value() -> None:
    assert [*registries.SLOTS, "without"] == [field.name for field in fields(Method)]
    assert registries.SLOTS["selection"] is registries.SELECTIONS
    source = "class Other:\n    a: A = A()\nclass Method:\n    new: New = Plain()\n    names: tuple[str, ...] = ()\n"
    assert fields_made(source, "Method") == ["new"]


def test_what_the_lists_show_is_read_without_an_import() -> None:
    shown = {"METHODS": ("citation",), "SPACES": (), "SOURCES": ("form",), "DIAGNOSTICS": ("per_epoch",)}
    for name, found in ALL.items():
        read = fresh(found)
        if name in ("CONTESTANTS", "NOTATIONS", "TABLES"):
            continue
        for each in read:
            assert read.doc(each)
            for attribute in shown.get(name, ()):
                assert read.value(each, attribute) == getattr(found[each], attribute)
        assert not read._items
        assert not read._discovered


def test_the_summary_of_a_method_is_the_first_line_of_its_description() -> None:
    for name, preset in METHODS.items():
        assert fresh(METHODS).doc(name) == inspect.cleandoc(preset.build.__doc__ or "")


def test_presets_of_a_space_are_read_also_where_a_base_in_the_file_has_them() -> None:
    read = fresh(registries.SPACES)
    assert "imagenet" in read.value("darts", "presets")
    assert not read._items
    assert registries.SPACES.value("s1", "presets") == registries.SPACES["s1"].presets  # of another file: imported


def test_every_form_of_registration() -> None:
    source = (
        'PAPER = "arXiv:1"\n'
        '@poise.methods.preset("a", citation=f"{PAPER} and more")\n'
        'def build():\n    """One.\n\n    Two."""\n'
        '@fills("penalty")\nclass Mine:\n    """Doc."""\n    kind: ClassVar[str] = "mine"\n    strength: float = 1.0\n'
        '@fills("guard")\nclass Other:\n    kind = "other"\n'
        'SPACES.add("late")(make())\n'
    )
    (a,) = declared_in(source, "method", "preset")
    assert (a.name, a.doc, a.values) == ("a", "One.\n\nTwo.", {"citation": "arXiv:1 and more"})
    (mine,) = declared_in(source, "penalty", "fills")
    assert (mine.name, mine.doc, mine.values["strength"]) == ("mine", "Doc.", 1.0)
    assert [each.name for each in declared_in(source, "space", "SPACES.add")] == ["late"]
    assert declared_in(source, "data source", "SOURCES.add") == []


@pytest.mark.parametrize(
    "source",
    [
        'for name in ("a", "b"):\n    SPACES.add(name)(make(name))\n',
        "@SPACES.add(other.NAME)\nclass A: ...\n",
        "A = SPACES.add('a')(make())\n",
        'if torch.cuda.is_available():\n    @SPACES.add("a")\n    class A: ...\n',
    ],
)
def test_other_forms_are_left_to_an_import(source: str) -> None:
    with pytest.raises(Unreadable):
        declared_in(source, "space", "SPACES.add")


def test_a_file_that_cannot_be_read_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "things_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "plain.py").write_text('@THINGS.add("plain")\ndef plain():\n    """Read, never run."""\nraise OSError\n')
    (package / "loop.py").write_text(
        "from test_registries import THINGS\n"
        'def make(name):\n    """Made."""\n'
        'for name in ("one", "two"):\n    THINGS.add(name)(make)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert list(THINGS) == ["one", "plain", "two"]
    assert THINGS.doc("two") == "Made."
    assert THINGS.doc("plain") == "Read, never run."
    with pytest.raises(Refused, match=r"unknown thing 'plan'; did you mean 'plain'\?"):
        THINGS["plan"]


THINGS: Registry[Any] = Registry("thing", "things_of_a_test", "THINGS.add")


@pytest.mark.parametrize("ask", [lambda things: "one" in things, lambda things: things["one"] is None])
def test_what_a_plugin_adds_is_there_at_the_first_question(
    ask: Callable[[Registry[Any]], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    things: Registry[Any] = Registry("thing", "poise.workflow", "THINGS.add")
    plugin = SimpleNamespace(load=lambda: things.add("one", "One.")(None))
    monkeypatch.setattr("poise.registry.entry_points", lambda group: [plugin])
    monkeypatch.setattr("poise.registry._sources", lambda package: ())
    assert ask(things)


def test_poise_has_every_name_it_promises() -> None:
    script = "import sys, poise; assert 'torch' not in sys.modules; print([getattr(poise, n) for n in poise.__all__])"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    tree = Path(str(poise.__file__)).read_text(encoding="utf-8")
    for name in poise.__all__:
        assert f"import {name} as {name}\n" in tree, "type checkers and editors know it too"
    assert set(poise.__all__) <= set(dir(poise))
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        _ = poise.serach  # type: ignore[attr-defined]


def test_export_stays_the_function() -> None:
    script = "import poise.export.onnx, poise; print(poise.export.__module__)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout == "poise.workflow.retrain\n"
