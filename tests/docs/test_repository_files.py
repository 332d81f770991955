"""Workflows, issue forms and hooks: they parse, and what they run exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from docs_support import ROOT
from packaging.specifiers import SpecifierSet

from poise.cli.main import app

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [file for file in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if file.name != "config.yml"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def steps(file: Path) -> list[dict[str, Any]]:
    return [step for job in read(file)["jobs"].values() for step in job["steps"]]


def test_there_are_workflows_and_forms() -> None:
    assert {file.stem for file in WORKFLOWS} >= {"ci", "docs", "release"}
    assert {file.stem for file in FORMS} == {"bug", "idea", "question"}


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_what_workflows_run_exists(file: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert read(file)[True], "when it runs: to YAML 1.1, `on` is true"
    for job in read(file)["jobs"].values():
        assert job["timeout-minutes"] <= 90
    for step in steps(file):
        assert ("run" in step) != ("uses" in step)
        run = step.get("run", "")
        assert set(re.findall(r"\bmake ([\w-]+)", run)) <= targets
        assert re.fullmatch(r"[\w/-]+@[\w/.]+", step.get("uses", "a@b"))
        for command in re.findall(r"/poise\"? (\w+)", run):
            assert command in typer.main.get_command(app).commands  # type: ignore[attr-defined]
        for extra in re.findall(r"'\.\[(\w+)\]'", run):
            assert extra in PROJECT["optional-dependencies"]


def test_the_matrix_is_what_the_package_allows() -> None:
    matrix = read(ROOT / ".github/workflows/ci.yml")["jobs"]["versions"]["strategy"]["matrix"]
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in matrix["python"])
    named = {each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)}
    assert set(matrix["python"]) == named
    oldest = next(each for each in PROJECT["dependencies"] if each.startswith("torch>")).partition(">=")[2]
    assert matrix["torch"] == [f"{oldest}.*", "newest"]


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.name)
def test_issue_forms_are_whole(file: Path) -> None:
    form = read(file)
    assert set(form) == {"name", "description", "labels", "body"}
    names = [field["id"] for field in form["body"]]
    assert len(set(names)) == len(names)
    for field in form["body"]:
        assert field["type"] in ("textarea", "input")
        assert field["attributes"]["label"]
    for command in re.findall(r"`poise (\w+)`", file.read_text(encoding="utf-8")):
        assert command in typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_hooks_are_the_linter_of_the_project() -> None:
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert [hook["entry"].split()[:2] for hook in repository["hooks"]] == [
        [".venv/bin/ruff", "check"],
        [".venv/bin/ruff", "format"],
    ]


def test_the_first_steps_list_every_extra() -> None:
    text = (ROOT / "docs/start.md").read_text(encoding="utf-8")
    rows = {name for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert rows == set(PROJECT["optional-dependencies"]) - {"dev"}
