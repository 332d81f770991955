"""What MkDocs does not know about this repository: `mkdocs.yml` names this file among its hooks.

- The navigation is the index, docs/README.md: a heading is a section, a row of its tables is a page.
- Links lead to files all over the repository, so that they work where it is browsed. A file outside of docs/ becomes a
  page below repository/, and the link leads there.
- The first screen of the README opens the home page, too.
- Equations, fenced as `math`, become MathML, which browsers draw without a script.
- The reference is made here, of docstrings and of the command line's own help; nothing of it is stored.
"""

from __future__ import annotations

import posixpath
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
INDEX = "docs/README.md"

_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r'(\]\(|src=")([^)\s"#]+)')
_ROW = re.compile(r"^\| \[([^\]]+)\]\(([^)]+)\)", re.MULTILINE)
_FIRST_SCREEN = re.compile(r"<!-- first screen -->\n(.*?)<!-- end -->", re.DOTALL)

GROUPS: dict[str, tuple[str, ...]] = {
    "Search": ("search", "search_seeds", "select", "resume", "diagnose", "SearchResult", "Diagnosis"),
    "Networks": ("train", "evaluate", "predict", "export", "load_network", "create_model", "push", "TrainedNetwork"),
    "What a search is given": ("Choice", "Method", "CostTarget", "measure_latency", "Images", "open_source"),
    "What comes out, and what goes wrong": ("Genotype", "Refused", "Stopped", "ignore"),
}
"""The names of `poise.__all__`, as the reference groups them; those that are in no group come last."""

ROOMS = {"methods": "Methods and slots", "spaces": "Spaces", "selection": "Selection rules", "tasks": "Tasks"}
"""The packages of `poise.__all__`: each has a page of its own."""

ESTIMATORS = ("PoiseClassifier", "PoiseRegressor", "Table")
"""What `poise.sklearn` is for."""

LANGUAGES = {".py": "python", ".json": "json", ".cff": "yaml", ".yml": "yaml", ".yaml": "yaml"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation of the index."""
    sections = re.split(r"^## (.+)\n", (ROOT / INDEX).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    config.nav = [{"Home": "README.md"}]
    for title, text in zip(sections[::2], sections[1::2], strict=True):
        config.nav.append({title: [{name: site_path(INDEX, link)} for name, link in _ROW.findall(text)]})
    config.nav.append({"Reference": [{title: path} for path, title, _ in reference()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are in no file of docs/: the reference, and what pages link to."""
    for path, title, text in reference():
        files.append(File.generated(config, path, content=f"# {title}\n\n{text}"))
    waiting = [f"docs/{file.src_uri}" for file in files.documentation_pages() if file.generated_by is None]
    seen: set[str] = set()
    while waiting:
        source = waiting.pop()
        for link in links(source):
            target = repository_path(source, link)
            if not target.startswith("docs/") and target not in ("README.md", *seen):
                seen.add(target)
                files.append(File.generated(config, site_path("README.md", target), content=as_page(target)))
                waiting += [target] if target.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages."""
    source = page.file.src_uri
    if source.startswith("reference/"):
        return markdown
    source = source.removeprefix("repository/") if source.startswith("repository/") else f"docs/{source}"
    if source == INDEX:
        found = _FIRST_SCREEN.search((ROOT / "README.md").read_text(encoding="utf-8"))
        if found is None:
            raise PluginError("the README has no first screen")
        return _FIRST_SCREEN.sub(lambda _: moved(found[1], "README.md", page), moved(markdown, source, page))
    return moved(markdown, source, page)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the theme's search dialog for screen readers."""
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def moved(text: str, source: str, page: Page) -> str:
    """A text of the file ``source`` with links that fit the page."""
    here = posixpath.dirname(page.file.src_uri)

    def link(found: re.Match[str]) -> str:
        if is_outside(found[2]):
            return found[0]
        target = posixpath.relpath(site_path(source, found[2]), here or ".")
        return f"{found[1]}{target}"

    parts = _FENCED.split(text)
    return "".join(drawn(part) if number % 2 else _LINK.sub(link, part) for number, part in enumerate(parts))


def drawn(block: str) -> str:
    """A fenced block as it goes into a page."""
    from latex2mathml.converter import convert

    language, _, code = block.removeprefix("```").removesuffix("```").partition("\n")
    return (
        f'<div class="equation" tabindex="0">{convert(code.strip(), display="block")}</div>'
        if language == "math"
        else block
    )


def links(source: str) -> Iterator[str]:
    """The links of a file that lead to other files."""
    text = _FENCED.sub("", (ROOT / source).read_text(encoding="utf-8"))
    yield from (link for _, link in _LINK.findall(text) if not is_outside(link))


def is_outside(link: str) -> bool:
    return re.match(r"[a-z]+:", link) is not None


def repository_path(source: str, link: str) -> str:
    """What a link in a file leads to, as a path in the repository."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    if not (ROOT / target).is_file():
        raise PluginError(f"{source}: the link to {link} leads to no file")
    return target


def site_path(source: str, link: str) -> str:
    """Where the site has what a link in a file leads to."""
    target = repository_path(source, link)
    if target == "README.md":
        return target
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"repository/{target if target.endswith('.md') else f'{target}.md'}"


def as_page(path: str) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n```{LANGUAGES.get(Path(path).suffix, 'text')}\n{text.rstrip()}\n```\n"


def reference() -> list[tuple[str, str, str]]:
    """Path, title and Markdown of every page of the reference."""
    import poise

    names = [name for name in poise.__all__ if name not in ROOMS]
    grouped = {name for group in GROUPS.values() for name in group}
    if gone := grouped - set(names):
        raise PluginError(f"the reference groups names that poise does not have: {', '.join(sorted(gone))}")
    groups = {**GROUPS, "More": tuple(name for name in names if name not in grouped)}
    text = "What `import poise` gives: all that most programs need.\n\n"
    for title, members in groups.items():
        if members:
            text += f"## {title}\n\n" + "".join(described(f"poise.{name}", poise._HOMES[name]) for name in members)
    pages = [("reference/poise.md", "The package poise", text)]
    for room, title in ROOMS.items():
        pages.append((f"reference/{room}.md", title, of_room(room)))
    text = "".join(described(f"poise.sklearn.{name}", "poise.sklearn") for name in ESTIMATORS)
    pages.append(("reference/sklearn.md", "Estimators for scikit-learn", text))
    return [*pages, ("reference/command-line.md", "The command line", command_line())]


def described(name: str, home: str) -> str:
    """The directive that describes one object, which is defined in the module ``home``."""
    return f"::: {home}.{name.rpartition('.')[2]}\n    options: {{heading: {name}, toc_label: {name}}}\n\n"


def of_room(room: str) -> str:
    """All that a package has, each thing at its home."""
    import importlib
    import inspect

    import poise

    package: Any = importlib.import_module(f"poise.{room}")
    text = f"{inspect.getdoc(package)}\n\n"
    for name in package.__all__:
        value = getattr(package, name)
        described_already = name in poise._HOMES or getattr(value, "__name__", name) != name  # or a second name
        if (inspect.isclass(value) or inspect.isfunction(value)) and not described_already:
            text += described(f"poise.{room}.{name}", value.__module__)
    return text


def command_line() -> str:
    """What ``poise COMMAND --help`` says, by typer's own writer of documentation."""
    import typer
    from typer.cli import get_docs_for_click

    from poise.cli.main import app

    command: Any = typer.main.get_command(app)
    waiting = [command]
    for each in waiting:  # or lists of commands show the first words of what they do
        each.short_help = (each.help or "").partition("\n\n")[0]
        waiting += getattr(each, "commands", {}).values()
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="poise", title="poise")
    text = re.sub(r"^Examples:\n((?:  .+\n)+)", lambda found: _as_code(found[1]), text, flags=re.MULTILINE)
    return text.partition("\n")[2]


def _as_code(lines: str) -> str:
    return f"**Examples**:\n\n```sh\n{textwrap.dedent(lines)}```\n"
