"""docs/extending.md is true: each of its files, dropped into a copy of poise, is found by everything, untouched."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from docs_support import ROOT, extension_commands, extension_files, poise, python

from full import FULL

FILES = extension_files()
COMMANDS = extension_commands()

NAMES = {
    "src/poise/methods/entropy.py": ("methods", "darts-entropy"),
    "src/poise/methods/lowest_loss.py": ("slots", "lowest-loss"),
    "src/poise/spaces/chain.py": ("spaces", "chain"),
    "src/poise/selection/chance.py": ("selections", "chance"),
    "src/poise/diagnostics/margin.py": ("diagnostics", "margin"),
    "src/poise/tasks/ordinal.py": ("tasks", "ordinal"),
    "src/poise/data/sources/stripes.py": ("data", "stripes"),
}
FEW = ["--set", "search.images_per_half=64"]
CONTRACTS = [
    "tests/methods/test_method_registry.py", "tests/spaces/test_every_space.py",
    "tests/diagnostics/test_every_diagnostic.py",
]  # fmt: skip


def copy_with(paths: list[str], folder: Path) -> Path:
    """A copy of the package with more files; returns what goes on the Python path."""
    shutil.copytree(ROOT / "src/poise", folder / "src/poise", ignore=shutil.ignore_patterns("__pycache__"))
    for path in paths:
        assert not (folder / path).exists(), "a new file, not a changed one"
        (folder / path).write_text(FILES[path], encoding="utf-8")
    return folder / "src"


def test_the_page_shows_one_file_of_each_kind() -> None:
    assert set(FILES) == set(NAMES) == set(COMMANDS)


def test_the_files_pass_the_linter(tmp_path: Path) -> None:
    source = copy_with(list(NAMES), tmp_path)
    for check in (["check"], ["format", "--check"]):
        files = [str(tmp_path / path) for path in NAMES]
        done = python(["-m", "ruff", *check, "--no-cache", "--config", str(ROOT / "pyproject.toml"), *files], source)
        assert done.returncode == 0, done.stdout


LINT = "from importlinter.cli import lint_imports_command as lint; lint(['--no-cache', '--no-logo'])"


def test_the_import_contracts_hold_for_new_files_too(tmp_path: Path) -> None:
    """`.importlinter` names none of them: it asks the registries."""
    source = copy_with(list(NAMES), tmp_path)
    (tmp_path / "tools").mkdir()
    for path in (".importlinter", "tools/contracts.py"):
        shutil.copy(ROOT / path, tmp_path / path)
    done = python(["-c", LINT], tmp_path, source)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = {
        "methods/entropy.py": "poise.methods.penalty",
        "methods/guard.py": "poise.methods.lowest_loss",
        "selection/chance.py": "poise.selection.magnitude",
        "engine/schedule.py": "poise.spaces.chain",
        "engine/streams.py": "poise.methods.entropy",
        "engine/run.py": "poise.data.sources.stripes",
    }
    for path, imported in broken.items():
        file = source / "poise" / path
        file.write_text(f"{file.read_text()}\nimport {imported}\n")
    done = python(["-c", LINT], tmp_path, source)
    assert done.returncode == 1
    for path, imported in broken.items():
        importer = "poise.engine" if "engine" in path else f"poise.{path.removesuffix('.py').replace('/', '.')}"
        assert f"{importer} is not allowed to import {imported}:" in done.stdout


@pytest.mark.parametrize("paths", [[path] for path in NAMES] if FULL else [list(NAMES)], ids=len)
def test_new_files_are_found_and_work(paths: list[str], tmp_path: Path) -> None:
    """Each alone; of a sample, all together in one process."""
    source = copy_with(paths, tmp_path)
    for path in paths:
        listed, name = NAMES[path]
        assert COMMANDS[path][0] == ["list", listed]
        assert any(
            {name, f"selection={name}", f"guard={name}", f"search.diagnostics=[{name}]"} & set(words)
            for words in COMMANDS[path]
            if words[0] == "search"
        )
    shown = [words for path in paths for words in COMMANDS[path]]
    done = poise([[*words, *FEW] if words[0] == "search" else words for words in shown], tmp_path, source)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert {NAMES[path][1] for path in paths} <= set(done.stdout.split())
    for words in shown:
        if words[0] == "search" and "--out" in words:
            assert (tmp_path / words[words.index("--out") + 1] / "genotype.json").is_file()


def test_the_contract_tests_take_them_up_and_pass(tmp_path: Path) -> None:
    source = copy_with(list(NAMES), tmp_path)
    names = ("entropy", "lowest-loss", "chain", "chance", "margin")
    done = python(
        ["-m", "pytest", *CONTRACTS, "-k", " or ".join(names), "-vv", "-p", "no:cacheprovider", "-p", "no:xdist"],
        ROOT, source,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    for name in names:
        assert any(name in line and "PASSED" in line for line in done.stdout.splitlines())


def test_without_the_file_the_name_is_unknown(tmp_path: Path) -> None:
    done = poise([["search", "--method", "darts-entropy", "--print-config"]], tmp_path)
    assert done.returncode != 0
    assert "unknown method 'darts-entropy'" in done.stderr
