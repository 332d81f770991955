"""An installation without extras, acted out in this one: what such an installation would not have is not found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
DECLARED = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]

HIDING = """
import json, sys
from importlib.machinery import PathFinder
absent = json.loads(sys.argv.pop(1))
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
"""


def others() -> list[str]:
    """The importable names here that an installation without extras would not have."""
    needed: set[str] = set()
    ahead = [Requirement(each) for each in DECLARED["dependencies"]]
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        if name in needed or not (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            ahead += map(Requirement, requires(name) or ())
        except PackageNotFoundError:
            continue
        needed.add(name)
    return sorted(
        module
        for module, owners in packages_distributions().items()
        if not needed & set(map(canonicalize_name, owners)) and not module.startswith(("_", "poise"))
    )


def run_bare(code: str, *arguments: str, at: Path | None = None, folder: Path | None = None) -> str:
    """What Python code prints there; ``at``: where poise is imported from, ``folder``: where it runs."""
    path = os.pathsep.join(filter(None, (str(at or ""), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-c", HIDING + code, json.dumps(others()), *arguments]
    ended = subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
