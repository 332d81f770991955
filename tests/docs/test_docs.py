"""The README and docs/ are true: examples run, commands exist, links lead somewhere, tables are those of the code."""

from __future__ import annotations

import csv
import json
import os
import random
import re
import traceback
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from docs_support import PAGES, ROOT, Block, blocks, commands, extension_commands, extension_files, poise, python
from docs_tables import TABLES, filled

from full import FULL
from poise import Genotype, Refused, __version__
from poise.cli.main import app
from poise.config.reading import parse_override
from poise.config.resolve import resolve
from poise.diagnostics.diagnostic import DIAGNOSTICS
from poise.export.exports import EXPORTS
from poise.methods.preset import METHODS
from poise.methods.slots import SLOTS
from poise.report.catalogue import LISTS
from poise.selection.rule import SELECTIONS
from poise.spaces import SPACES, TextShape
from poise.spaces.space import genotype_of, shape_kind

SMALL = [
    "--set",
    "space.channels=2",
    "--set",
    "space.cells=3",
    "--set",
    "search.epochs=1",
    "--set",
    "search.images_per_half=64",
]
SKIP = re.compile(r"<!-- no test: needs (a GPU|the network)\. .+ -->")
SHELL = ("sh", "bash")
FILES = set(extension_files().values())
SHOWN_EXTENSIONS = [words for shown in extension_commands().values() for words in shown]
COMMANDS = [
    (page, words)
    for page in PAGES
    for block in blocks(page)
    if block.language in SHELL
    for words in commands(block.text)
]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def examples(page: Path) -> list[Block]:
    found = [block for block in blocks(page) if block.language == "python" and block.text not in FILES]
    return [block for block in found if not SKIP.fullmatch(block.before)]


def shrink_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """The preset that the examples name, on fewer images and smaller networks."""
    for cls in SPACES.values():
        if shape_kind(cls) is not TextShape:
            demo: Any = cls.presets["demo"]
            monkeypatch.setitem(demo["search"], "images_per_half", 64)
            monkeypatch.setitem(demo["train"], "batch_size", 720)
            monkeypatch.setitem(demo["train"], "channels", 4)


def forget_what_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example registers is gone after it."""
    for registry in (METHODS, *SLOTS.values()):
        for found in registry:  # all are imported now
            registry[found]
        for attribute in ("_items", "_docs"):
            monkeypatch.setattr(registry, attribute, dict(getattr(registry, attribute)))


@pytest.mark.parametrize("page", [page for page in PAGES if examples(page)], ids=name)
def test_python_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their order, in one namespace, in an empty folder."""
    torch.set_num_threads(1)
    shrink_demo(monkeypatch)
    forget_what_is_added(monkeypatch)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in examples(page):
        try:
            exec(compile("\n" * block.line + block.text, name(page), "exec", dont_inherit=True), names)  # noqa: S102
        except Exception:
            pytest.fail(f"the example on line {block.line} of {name(page)} fails:\n{traceback.format_exc()}")


def test_every_block_has_a_language_that_is_checked() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.language in (*SHELL, "python", "json", "yaml", "math", "text", ""), (name(page), block.line)
            assert "no test" not in block.before or SKIP.fullmatch(block.before), (name(page), block.line)


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_commands_exist_and_their_settings_too(page: Path, words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    assert words[0] in command.commands
    values = command.commands[words[0]].make_context(words[0], words[1:]).params
    if words in SHOWN_EXTENSIONS or page.name == "errors.md":
        return  # which test_extending and test_errors_page run
    overrides = [parse_override(text) for text in values.get("set_") or []]
    if words[0] == "search":
        given = {key: values[key] for key in ("space", "method", "preset", "data", "seed", "device", "precision")}
        settings = resolve(file=values["config"], overrides=overrides, **given)
        method = settings.method
        method.check(method.searched(settings.space)[1], settings.search.epochs)
    elif words[0] == "select":
        rule = values["rule"]
        assert rule is None or rule in SELECTIONS
        resolve(overrides=[*([("selection", rule)] if rule else []), *overrides])
    elif words[0] == "train":
        resolve(preset=values["preset"], overrides=overrides)
    elif words[0] == "export":
        assert values["to"] in EXPORTS
    elif words[0] == "diagnose":
        assert set((values["only"] or "eigenvalue").split(",")) <= set(DIAGNOSTICS)
    elif words[0] == "list":
        assert values["what"] in LISTS


def test_quick_commands_run(tmp_path: Path) -> None:
    """Lists and printed configurations, all that are shown."""
    quick = [w for _, w in COMMANDS if (w[0] == "list" or "--print-config" in w) and w not in SHOWN_EXTENSIONS]
    assert len(quick) >= 5
    done = poise(quick, tmp_path)
    assert done.returncode == 0, done.stderr


def smaller(words: list[str]) -> list[str]:
    """The same command on the smallest networks."""
    if words[0] == "search":  # s2 is darts with two candidates per edge instead of eight
        fewer = ["s2" if (before, word) == ("--space", "darts") else word for before, word in pairwise(["", *words])]
        usual = [] if "--space" in words else ["--space", "s2"]
        return [*fewer, *usual, *SMALL, *([] if "--out" in words else ["--out", "runs/digits-darts-poise-0"])]
    return [*words, "--channels", "4", "--cells", "3", "--epochs", "1"] if words[0] == "train" else words


def test_the_readme_leads_from_a_folder_of_images_to_predictions(tmp_path: Path) -> None:
    """And every command says what comes next. Of a sample, no figure is rendered: tests/cli/test_cli_commands.py does
    that."""
    readme = blocks(ROOT / "README.md")
    done = python(["-c", next(block.text for block in readme if block.language == "python")], tmp_path)
    assert done.returncode == 0, done.stderr
    photos = sorted(tmp_path.glob("photos/*/*.png"))
    assert len(photos) == 1777
    for photo in photos[::5]:  # of a sample, fewer
        photo.unlink()
    shown = [smaller(words) for page, words in COMMANDS if page.parent == ROOT]
    genotype = next(block.text for block in blocks(ROOT / "docs/genotype.md") if block.language == "json")
    (tmp_path / "genotype.json").write_text(genotype)
    shown += [smaller(words) for page, words in COMMANDS if page.name == "genotype.md"]
    done = poise(shown, tmp_path, rendered=FULL)
    assert done.returncode == 0, (done.stdout, done.stderr)
    said = [line for block in readme if block.language == "text" for line in block.text.splitlines()]
    assert len(said) == 4
    for line in said:
        assert "; next: poise " in line
        assert line in done.stdout.splitlines(), line
    with (tmp_path / "new.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row["file"] for row in csv.DictReader(file)) == sorted(f"new/{n}.png" for n in range(20))
    for file in ("digits-darts-poise-0/net/result.json", "photos/report.html", "photos/net/model.onnx"):
        assert (tmp_path / "runs" / file).is_file(), file
    assert (tmp_path / "runs/from-file/network.safetensors").is_file()


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    shown = {target for page in PAGES for block in blocks(page) if block.language in SHELL
             for target in re.findall(r"^make (\w+)", block.text, re.MULTILINE)}  # fmt: skip
    assert shown == {"demo", "test", "gpu", "docs"}
    assert shown <= targets


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    for link in links:
        if not link.startswith("https://"):
            target, _, anchor = link.partition("#")
            assert (page.parent / target).exists(), link
            assert not anchor, "no anchors: headings change"
    for path in re.findall(r"`((?:src|tests|docs)/[\w/.-]+)`", text):
        assert (ROOT / path).exists() or path in extension_files(), path


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_tables_are_those_of_the_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python tests/docs/docs_tables.py"


def test_every_table_is_shown_and_every_page_is_in_the_index() -> None:
    everything = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for table in TABLES:
        assert everything.count(f"<!-- generated: {table} -->") == 1
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.name == "README.md" or f"({os.path.relpath(page, ROOT / 'docs')})" in index


@pytest.mark.parametrize("page", PAGES[1:], ids=name)
def test_every_page_opens_with_what_its_reader_can_do(page: Path) -> None:
    title, opening = page.read_text(encoding="utf-8").split("\n\n", 2)[:2]
    assert re.fullmatch("# .+", title)
    assert opening.startswith("After this page you can "), "then comes what for"


def test_every_method_is_explained_and_cited() -> None:
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## `([^`]+)`$", text, re.MULTILINE)
    assert sorted(headings) == sorted(METHODS)
    for found in METHODS.values():
        number = re.search(r"arXiv:[\d.]+\d", found.citation)
        assert number
        assert number[0] in text


def test_the_files_of_a_run_are_those_that_the_architecture_lists() -> None:
    from poise.engine.run import OWN_FILES, OWN_FOLDERS

    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for file in (*OWN_FILES, *(f"{folder}/" for folder in OWN_FOLDERS)):
        assert f"`{file}`" in text, file


def test_the_example_file_is_a_configuration(tmp_path: Path) -> None:
    (text,) = [block.text for block in blocks(ROOT / "docs/configuration.md") if block.language == "yaml"]
    file = tmp_path / "file.yaml"
    file.write_text(text)
    settings = resolve(file=file)
    given = yaml.safe_load(text)
    assert (settings.space.name, settings.space.channels) == ("nasbench201", given["space"]["channels"])
    assert settings.space.cells == SPACES["nasbench201"].presets["demo"]["space"]["cells"]
    assert settings.method.penalty.weight == 5
    assert (settings.search.epochs, settings.seed) == (3, 1)


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """Whether a value fits a JSON Schema, for the keywords that ours uses; any other keyword fails."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    known = {"$schema", "$defs", "title", "description", "type", "const", "pattern", "required", "properties",
             "propertyNames", "additionalProperties", "items", "minItems", "uniqueItems"}  # fmt: skip
    assert set(schema) <= known
    if "const" in schema and (value != schema["const"] or type(value) is not type(schema["const"])):
        return False
    if "type" in schema and not isinstance(value, {"object": dict, "array": list, "string": str}[schema["type"]]):
        return False
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, dict):
        named, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        if not set(schema.get("required", ())) <= set(value):
            return False
        if not all(fits(key, schema.get("propertyNames", {}), root) for key in value):
            return False
        return all(
            (key in named or other is not False) and fits(inner, named.get(key, other), root)
            for key, inner in value.items()
        )
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0) or (schema.get("uniqueItems") and len(set(value)) < len(value)):
            return False
        return all(fits(inner, schema.get("items", {}), root) for inner in value)
    return True


def test_the_genotype_schema_and_the_reader_agree() -> None:
    schema = json.loads((ROOT / "docs/genotype.schema.json").read_text(encoding="utf-8"))
    good: list[dict[str, Any]] = []
    for number, (space, cls) in enumerate(SPACES.items()):
        groups = cls().groups
        draw = random.Random(number)
        kept = {g.name: tuple((draw.randrange(len(row.candidates)),) for row in g.rows) for g in groups}
        good.append(genotype_of(space, kept, groups).to_dict())
    good += [json.loads(block.text) for block in blocks(ROOT / "docs/genotype.md") if block.language == "json"]
    base = good[-1]
    bad: list[Any] = [
        [], {}, {**base, "more": 1}, {**base, "version": 2}, {**base, "version": "1"}, {**base, "format": "other"},
        {**base, "space": ""}, {**base, "space": "a b"}, {**base, "choices": []}, {**base, "choices": {"cell": []}},
        {**base, "choices": {"cell": {"0->1": "skip_connect"}}}, {**base, "choices": {"cell": {"0->1": ["a", "a"]}}},
        {**base, "choices": {"cell": {"0->1": [1]}}}, {**base, "choices": {"cell": {"?": ["a"]}}},
        {key: value for key, value in base.items() if key != "choices"},
    ]  # fmt: skip
    for value in good:
        assert fits(value, schema, schema)
        assert Genotype.from_json(json.dumps(value)).to_dict() == value
    for value in bad:
        assert not fits(value, schema, schema), value
        with pytest.raises(Refused):
            Genotype.from_json(json.dumps(value))


def test_licence_citation_and_changelog() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")
    cited = {reference["notes"] for reference in citation["references"]}
    for found in METHODS.values():
        assert any(number in found.citation for number in cited), found.citation
    assert __version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
