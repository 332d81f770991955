"""What the tests of the documentation share: blocks of code, commands, tables, taken out of Markdown."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
"""What `poise bench report` wrote."""
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(page for page in sorted((ROOT / "docs").rglob("*.md")) if RESULTS not in page.parents),
]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"^\*\*`(src/[^`]+\.py)`\*\*\n\n```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_EXTENSION = re.compile(r"^<!-- extension: (\S+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins on, and the line of text before it."""

    language: str
    text: str
    line: int
    before: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        before = text[: match.start()].rstrip("\n").rpartition("\n")[2]
        found.append(Block(match[1], match[2], text[: match.start()].count("\n") + 1, before))
    return found


def extension_files() -> dict[str, str]:
    """Path in the repository -> content, of every complete file that docs/extending.md shows."""
    return dict(_FILE.findall((ROOT / "docs/extending.md").read_text(encoding="utf-8")))


def extension_commands() -> dict[str, list[list[str]]]:
    """The file that must be there -> the commands shown under it."""
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    return {path: commands(code) for path, code in _EXTENSION.findall(text)}


def commands(text: str) -> list[list[str]]:
    """The ``poise`` commands of a shell block, as words without the leading ``poise``."""
    joined = text.replace("\\\n", " ")
    words = [shlex.split(line, comments=True) for line in joined.splitlines()]
    return [line[1:] for line in words if line and line[0] == "poise"]


_EVERY = """
import json, sys
from poise.cli.main import main
if {blank}:
    import pytest
    from unrendered import STANDINS
    for name, standin in STANDINS.items():
        pytest.MonkeyPatch().setattr(name, standin)
for words in json.loads(sys.argv[1]):
    try:
        main(words)
    except SystemExit as end:
        if end.code:
            sys.exit(f"{{words}} ended with {{end.code}}")
"""


def python(arguments: list[str], folder: Path, source: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Python in a folder, on one thread, perhaps with another copy of poise."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    parts = [str(ROOT / "tests"), str(source) if source is not None else environment.get("PYTHONPATH")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, parts))
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=1200
    )


def poise(
    lines: list[list[str]], folder: Path, source: Path | None = None, rendered: bool = False
) -> subprocess.CompletedProcess[str]:
    """These commands, one after another in one process (importing torch takes longer than most of them)."""
    return python(["-c", _EVERY.format(blank=not rendered), json.dumps(lines)], folder, source)
