"""The pages in a browser: nothing is loaded, nothing overflows, everything moves, and a person of any means can read
them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_support import (
    LONG,
    NAME,
    QUOTES,
    SCHEMES,
    SCREENS,
    SCRIPT,
    WIDTHS,
    browser,
    difference,
    small,
    write_pages,
)
from PIL import Image

from unrendered import STANDINS

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
if shutil.which("chromium") is None:
    pytest.skip("there is no chromium here: apt-get install chromium", allow_module_level=True)

PAGES = ("search", "training", "bench")
DIFFERENT = 9.0
"""Pictures may differ by so much in the mean: fonts do. Leaving out a section is more, see below."""

SAME_FOLDER = """(folder) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.nodeValue = texts.currentNode.nodeValue.replaceAll(folder, "runs");
}"""
"""A script that gives the folder of a test another name, for lines to break at the same places every time."""


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> Iterator[None]:
    """The figures in files are not looked at here, but for those of a bench, which stand on its page."""
    with pytest.MonkeyPatch.context() as patch:
        for name, standin in STANDINS.items():
            if "savefig" not in name and "TextPath" not in name:
                patch.setattr(name, standin)
        yield


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, unrendered: None) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as found:
        yield found


class Seen:
    """A page in a tab of its own, and what it said and asked for."""

    def __init__(self, chromium: Any, file: Path, width: int = 1200, **form: Any) -> None:
        self.context = chromium.new_context(viewport={"width": width, "height": 900}, **form)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = file.as_uri()
        self.page.goto(self.url)

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *error: object) -> None:
        self.context.close()


def overflow(page: Any) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_quiet_fit_every_width_and_look_as_they_did(name: str, pages: dict[str, Path], chromium: Any) -> None:
    assert pages[name].stat().st_size < 2_000_000
    for scheme in SCHEMES:
        seen = Seen(chromium, pages[name], color_scheme=scheme, device_scale_factor=0.25)
        with seen as page:
            page.evaluate(SAME_FOLDER, str(pages["bench"].parent.parent))
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                assert overflow(page) <= 0, (name, scheme, width)
                found, stored = small(page.screenshot(full_page=True)), SCREENS / f"{name}-{width}-{scheme}.png"
                if os.environ.get("POISE_SCREENS") == "write":
                    found.save(stored, optimize=True)
                assert difference(found, Image.open(stored).convert("L")) < DIFFERENT, stored.name
            assert small_text(page) == [], "nothing is set smaller than 11 px"
        assert seen.said == []
        assert seen.asked == [seen.url]


def small_text(page: Any) -> list[str]:
    """What is written in letters that are hard to read, as they come out on the screen."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((each) =>
          [...each.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim())
          && each.getBoundingClientRect().width && !each.closest("script, template")).filter((each) => {
            const svg = each.ownerSVGElement, box = svg && svg.viewBox.baseVal;
            const scale = svg && box.width ? svg.getBoundingClientRect().width / box.width : 1;
            return parseFloat(getComputedStyle(each).fontSize) * scale < 9.3;
          }).map((each) => each.textContent)"""
    )
    return found


def test_a_section_that_is_missing_shows(pages: dict[str, Path], chromium: Any) -> None:
    with Seen(chromium, pages["training"], 800, color_scheme="light", device_scale_factor=0.25) as page:
        whole = small(page.screenshot(full_page=True))
        page.evaluate("document.querySelectorAll('section')[1].remove()")
        assert difference(small(page.screenshot(full_page=True)), whole) > 1.5 * DIFFERENT


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(name: str, pages: dict[str, Path], chromium: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with Seen(chromium, pages[name], bypass_csp=True) as page:
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            only = {} if scheme == "light" else {"runOnly": ["color-contrast"]}  # nothing else depends on it
            found = axe.run(page, options={"resultTypes": ["violations"], **only}).response["violations"]
            grave = [each for each in found if each["impact"] in ("serious", "critical")]
            assert [(each["id"], each["nodes"][0]["html"][:200]) for each in grave] == [], scheme


def test_a_slider_shows_mixture_and_cell_of_an_epoch(pages: dict[str, Path], chromium: Any) -> None:
    with Seen(chromium, pages["search"]) as page:
        slider, cell = page.locator(".slider input"), page.locator(".drawn").first
        assert page.locator(".moment").inner_text() == "What was selected"
        last, weights = cell.inner_html(), page.locator(".heat td span").all_inner_texts()
        slider.focus()
        slider.press("Home")
        assert page.locator(".moment").inner_text() == "After epoch 1"
        assert slider.get_attribute("aria-valuetext") == "After epoch 1"
        assert page.locator(".heat td span").all_inner_texts() != weights
        assert cell.inner_html() != last
        kept = page.locator(".heat").first.locator("td.kept")
        assert kept.count() == 8, "two edges into each of four nodes"
        shown = sorted(cell.locator(".pill text").all_text_contents())
        heads = page.locator(".heat").first.locator("thead th").all_text_contents()
        places = kept.evaluate_all("(cells) => cells.map((cell) => cell.cellIndex - 1)")
        assert shown == sorted(heads[place] for place in places), "the cell that is drawn is the one that is framed"
        slider.press("End")
        assert cell.inner_html() == last
        assert page.locator(".heat td span").all_inner_texts() == weights


def test_charts_are_read_by_pointer_and_by_keys_and_curves_are_put_aside(pages: dict[str, Path], chromium: Any) -> None:
    with Seen(chromium, pages["search"]) as page:
        chart = page.locator(".chart", has_text="loss").first
        readout, plot = chart.locator(".readout"), chart.locator(".plot")
        plot.scroll_into_view_if_needed()
        box = plot.locator("svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] - 14, box["y"] + 50)
        numbers = page.locator(".curves + details tbody tr").last.locator("td").all_text_contents()
        assert readout.inner_text() == f"epoch 4: train {numbers[1]}, search {numbers[2]}"
        others = page.locator(".chart .readout").all_inner_texts()
        assert all(text.startswith("epoch 4: ") for text in others), "all charts read the same epoch"
        page.mouse.move(0, 0)
        assert readout.inner_text() == ""
        plot.focus()
        plot.press("Home")
        assert readout.inner_text().startswith("epoch 1: train ")
        plot.press("ArrowRight")
        assert readout.inner_text().startswith("epoch 2: train ")
        button = chart.get_by_role("button", name="train")
        assert chart.locator(".plot .curve").first.is_visible()
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        assert not chart.locator(".plot .curve").first.is_visible()
        plot.focus()
        assert "train" not in readout.inner_text()
        button.click()
        assert chart.locator(".plot .curve").first.is_visible()


def test_a_command_is_copied(pages: dict[str, Path], chromium: Any) -> None:
    with Seen(chromium, pages["bench"]) as page:
        page.evaluate("navigator.clipboard.writeText = async (text) => { document.title = text; }")
        command = page.locator(".command").first
        command.get_by_role("button").click()
        assert page.title() == command.locator("code").inner_text()
        assert page.title().startswith("poise resume ")
        assert command.get_by_role("button").inner_text().startswith("Copied")


def test_hostile_names_are_texts(pages: dict[str, Path], chromium: Any) -> None:
    with Seen(chromium, pages["search"]) as page:
        assert page.locator("h1").inner_text() == NAME
        assert page.locator("h1 *").count() == 0
    with Seen(chromium, pages["training"], 390) as page:
        names = page.locator("section", has_text="Class by class").locator("tbody td:first-child").all_text_contents()
        assert names == [SCRIPT, QUOTES, LONG]
        assert overflow(page) <= 0


@pytest.mark.parametrize("name", PAGES)
def test_all_is_there_without_a_script_and_in_print(name: str, pages: dict[str, Path], chromium: Any) -> None:
    with Seen(chromium, pages[name], java_script_enabled=False) as page:
        assert page.locator("main section").count() >= 3
        assert not any(button.is_visible() for button in page.locator(".copy, .slider").all())
        parts = {"search": [".cell", ".heat td", ".chart path"], "training": [".cell", ".chart path"]}
        for part in parts.get(name, [".dot", "table", "figure > svg"]):
            assert page.locator(part).first.is_visible(), part
        page.emulate_media(media="print")
        assert page.locator("h1").is_visible()
        assert not page.locator("nav").is_visible()


def test_a_page_of_what_is_running_loads_itself_again_and_comes_back(
    pages: dict[str, Path], chromium: Any, tmp_path: Path
) -> None:
    file, text = tmp_path / "report.html", pages["search"].read_text()
    text = text.replace('data-state="finished"', 'data-state="running"')
    file.write_text(text)
    with Seen(chromium, file) as page:
        page.clock.install()
        page.reload()
        page.locator(".slider input").focus()
        page.locator(".slider input").press("Home")
        page.locator("details", has_text="Configuration").locator("summary").click()
        page.evaluate("scrollTo(0, 500)")
        file.write_text(text.replace("<h1>", "<h1>again ").replace('data-state="running"', 'data-state="finished"'))
        page.clock.run_for(9_000)
        assert "again" not in page.locator("h1").inner_text()
        with page.expect_navigation():
            page.clock.run_for(1_100)
        assert page.locator("h1").inner_text().startswith("again ")
        assert page.locator(".moment").inner_text() == "After epoch 1"
        assert page.locator("details", has_text="Configuration").get_attribute("open") is not None
        assert page.evaluate("scrollY") == 500
        page.evaluate("document.body.id = 'same'")
        page.clock.run_for(60_000)
        assert page.locator("body#same").count() == 1, "what has ended stays"
