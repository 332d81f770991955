"""What results print, and what they show in a notebook."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torch import nn

import poise
from poise.report.summary import LONGEST, WIDEST, Summarised, Summary, measured

HOSTILE = '<script>alert("1")</script>'
TINY = {"search.epochs": 1, "search.batch_size": 8, "space.channels": 2, "space.cells": 1}
TRAIN = {"train.epochs": 1, "train.batch_size": 8, "train.channels": 2, "train.cells": 1, "train.auxiliary": 0.0}


def images() -> poise.Images:
    pixels = torch.randint(0, 256, (16, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return poise.Images(pixels, torch.arange(16) % 2, (HOSTILE, "dog & cat"))


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> poise.SearchResult:
    out = tmp_path_factory.mktemp("runs") / "a <b> run"
    return poise.search((images(), images()), space="nasbench201", method="darts", settings=TINY, out=out)


@pytest.fixture(scope="module")
def network(found: poise.SearchResult) -> poise.TrainedNetwork:
    trained = poise.train(found, (images(), images()), settings=TRAIN)
    assert isinstance(trained, poise.TrainedNetwork)
    return trained


class Page(HTMLParser):
    """Tags that are open, all that occurred, where they point, and the text."""

    VOID = frozenset({"br", "meta", "img", "path", "use", "rect", "line", "circle"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.pointers: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        self.pointers += [value or "" for name, value in attrs if name.split(":")[-1] in ("href", "src")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def checked(result: Summarised) -> tuple[str, Page]:
    """The text and the page of a result, within the bounds of every summary."""
    text, page = repr(result), Page(result._repr_html_())
    assert 2 <= len(text.splitlines()) <= LONGEST < 10
    assert max(map(len, text.splitlines())) <= WIDEST
    assert page.open == []
    assert all(pointer.startswith("#") for pointer in page.pointers), "nothing comes from anywhere else"
    assert not {"script", "link", "iframe", "img", "style"} & set(page.tags)
    assert "table" in page.tags
    return text, page


def test_a_search(found: poise.SearchResult) -> None:
    text, page = checked(found)
    assert text.splitlines()[0] == "Found by darts on nasbench201 in 1 epoch"
    assert found.space.describe(found.genotype)[:60] in text
    assert f"{100 * found.history[-1]['search_accuracy']:.2f}%" in text
    assert str(found.folder)[:40] in text
    assert text.splitlines()[-1].split(maxsplit=1) == ["next", "poise.train(result, data)"]
    assert page.tags.count("svg") == 1
    assert any("a <b> run" in each for each in page.texts)


def test_a_search_that_was_not_saved_and_one_of_more_epochs(found: poise.SearchResult) -> None:
    text, _ = checked(replace(found, folder=None, history=[*found.history] * 3))
    assert "in 3 epochs" in text
    assert "not saved" in text


def test_a_network(network: poise.TrainedNetwork) -> None:
    text, page = checked(network)
    assert f"{network.parameters:,}" in text
    assert f"{100 * network.result['test_accuracy']:.2f}%" in text
    assert "not saved" in text
    assert "poise.export(network, 'onnx')" in text.splitlines()[-1]
    assert "svg" in page.tags
    assert any(HOSTILE in each and "dog & cat" in each for each in page.texts)
    assert HOSTILE not in network._repr_html_()


def test_a_selection_and_a_diagnosis(found: poise.SearchResult) -> None:
    selected = poise.select(str(found.folder), "magnitude")
    text, page = checked(selected)
    assert "Selected on nasbench201 by magnitude" in text
    assert f"poise.train({str(found.folder)!r})"[:60] in text
    assert "svg" in page.tags
    diagnosis = poise.diagnose(found, ["saturation", "skips"], data=(images(), images()))
    text, _ = checked(diagnosis)
    assert text.startswith("Diagnosed by saturation, skips\n")
    assert len(str(diagnosis).splitlines()) == len(diagnosis.numbers), "printed it is still a table of everything"


def test_a_module_of_ones_own() -> None:
    choice = poise.Choice({"conv": nn.Conv2d(3, 2, 3), "sharp": nn.Conv2d(3, 2, 3, bias=False)})
    module = nn.Sequential(choice, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    data = (images(), images())
    result = poise.search(module, data, settings={"search.epochs": 1, "search.batch_size": 8})
    text, page = checked(result)
    assert "result.module" in text.splitlines()[-1]
    assert "svg" in page.tags


def test_long_values_and_many_rows_are_cut_and_the_last_row_stays() -> None:
    rows = [(f"row {index}", "x " * 200) for index in range(30)]
    text = Summary("Title", [*rows, ("next", "do this")]).text()
    assert len(text.splitlines()) == LONGEST
    assert all(len(line) <= WIDEST for line in text.splitlines())
    assert text.splitlines()[-1].split(maxsplit=1) == ["next", "do this"]
    assert text.splitlines()[-2] == "  … and 24 more"
    assert len([line for line in text.splitlines() if line.startswith("  row")]) == 30 - 24


def test_numbers_are_readable() -> None:
    numbers = {"test_accuracy": 0.5, "parameters": 1234567, "test_loss": 0.123456, "what": "text"}
    assert measured(numbers) == [
        ("test accuracy", "50.00%"), ("parameters", "1,234,567"), ("test loss", "0.1235"),
    ]  # fmt: skip
    assert measured({"loss": float("nan"), "perplexity": float("inf")}) == [("loss", "nan"), ("perplexity", "inf")]


def test_images_and_genotypes_are_short_too(found: poise.SearchResult, tmp_path: Path) -> None:
    assert len(repr(images())) < 400
    assert len(repr(poise.open_source("digits"))) < 400
    assert len(repr(found.genotype)) < 2000
