"""What is published: a wheel and an archive of sources, which work where there is nothing but what they ask for."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from bare import DECLARED, PROJECT, run_bare

SOURCES = PROJECT / "src" / "poise"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, built of a copy: the build leaves files behind."""
    folder = tmp_path_factory.mktemp("package")
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(PROJECT / name, folder)
    shutil.copytree(SOURCES, folder / "src" / "poise", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return folder / "dist"


def test_both_are_as_an_index_wants_them(dist: Path) -> None:
    files = sorted(dist.iterdir())
    version = DECLARED["version"]
    assert [file.name for file in files] == [f"poise-{version}-py3-none-any.whl", f"poise-{version}.tar.gz"]
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, files)]
    assert subprocess.run(check, check=True, capture_output=True, text=True).stdout.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(dist: Path) -> None:
    here = {path.relative_to(SOURCES.parent).as_posix() for path in SOURCES.rglob("*") if path.is_file()}
    here = {name for name in here if "__pycache__" not in name}
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert there == here
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in here} <= names


RUN = """
import poise, sys
from poise.cli.main import main
print(poise.__file__)
main()
"""


def test_it_searches_where_there_are_no_extras(dist: Path, tmp_path: Path) -> None:
    at = tmp_path / "installed"
    with zipfile.ZipFile(next(dist.glob("*.whl"))) as wheel:
        wheel.extractall(at)
    command = ("search", "--data", "digits", "--preset", "demo", "--set", "search.epochs=1", "--out", "run")
    said = run_bare(RUN, *command, at=at, folder=tmp_path)
    assert said.startswith(str(at)), "another poise was imported"
    assert said.endswith("next: poise train run\n")
    assert (tmp_path / "run" / "report.html").is_file()
