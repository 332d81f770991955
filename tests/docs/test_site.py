"""The site builds without a warning, shows everything, and asks nobody else for anything."""

from __future__ import annotations

import logging
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import typer
from docs_support import PAGES, ROOT, blocks
from mkdocs.commands.build import build
from mkdocs.config import load_config

import poise
from poise.cli.main import app


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    before = logging.root.manager.disable
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    finally:
        logging.disable(before)
        sys.modules.pop("site_hooks", None)
    return folder


class Loaded(HTMLParser):
    """What a page asks a browser to load, and where its links lead."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.headings = 0
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.headings += tag == "h1"
        if tag in ("script", "img", "iframe") and values.get("src"):
            self.loaded.append(values["src"] or "")
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.loaded.append(values["href"] or "")
        if tag == "a" and values.get("href"):
            self.links.append(values["href"] or "")


def test_no_page_asks_anybody_else_for_anything(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        if "results" in page.relative_to(site).parts:
            continue
        found = Loaded(page)
        assert not [link for link in found.loaded if re.match(r"([a-z]+:)?//", link)], page
        assert found.headings == 1 or page.name == "404.html", page
        for link in found.links:
            assert re.fullmatch(r"(?!\w+:).*|https://[\w.-]+\.\w+(/[\w./%~#?=&-]*)?", link), (page, link)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_reference_holds_every_public_name_and_every_command(site: Path) -> None:
    text = (site / "reference/poise/index.html").read_text(encoding="utf-8")
    names = [name for name in poise.__all__ if name in poise._HOMES]
    assert len(names) > 20
    for name in names:
        assert f'id="{poise._HOMES[name]}.{name}"' in text, name
    for room in ("methods", "spaces", "selection", "tasks", "sklearn"):
        text = (site / f"reference/{room}/index.html").read_text(encoding="utf-8")
        assert f'id="poise.{room}.' in text
    text = (site / "reference/command-line/index.html").read_text(encoding="utf-8")
    command = typer.main.get_command(app)
    for name in command.commands:  # type: ignore[attr-defined]
        assert f'id="poise-{name}"' in text, name
    assert "..." not in re.findall(r"<li>\s*<p><code>train</code>: (.*)</p>|<code>train</code>: (.*)</li>", text)[0]


def test_the_home_page_has_the_readmes_first_screen(site: Path) -> None:
    text = (site / "index.html").read_text(encoding="utf-8")
    assert 'src="images/cells.svg"' in text
    assert "poise finds the architecture of a neural network" in text


def test_files_outside_of_docs_are_pages_too(site: Path) -> None:
    text = (site / "extending/index.html").read_text(encoding="utf-8")
    assert 'href="../repository/src/poise/jobs/local.py/"' in text
    assert "class Local" in re.sub("<[^>]+>", "", (site / "repository/src/poise/jobs/local.py/index.html").read_text())


def test_equations_are_drawn_without_a_script(site: Path) -> None:
    text = (site / "methods/index.html").read_text(encoding="utf-8")
    equations = re.findall(r'<math[^>]*display="block".*?</math>', text)
    shown = [block for page in PAGES for block in blocks(page) if block.language == "math"]
    assert len(equations) == len(shown) > 5
    for equation in equations:
        assert not re.search(r"\\[a-zA-Z]+|&#x0005C;", equation), "what is not understood is left as it was"
