"""The page stands alone and escapes what it shows; tables show texts as they are."""

import io
import re
from html.parser import HTMLParser

from rich.console import Console

from poise.genotype import Genotype
from poise.report.cell import cell_figure
from poise.report.page import Code, Drawing, Grid, Paragraph, Section, write_page
from poise.report.tables import genotype_table, history_table, result_table
from poise.spaces.space import SPACES

EVIL = "<script>alert('\"&')</script>"
BENCH = Genotype.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|", "nasbench201")
GROUPS = SPACES["nasbench201"]().groups


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.texts, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_data(self, data):
        self.texts.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def test_every_text_is_escaped(tmp_path):
    blocks = [
        Paragraph(EVIL),
        Code(EVIL),
        Grid([[EVIL, "1"]], head=[EVIL, "n"]),
        Drawing(cell_figure(BENCH, GROUPS), EVIL),
    ]
    page = write_page(tmp_path / "new", EVIL, Section(EVIL, blocks))
    assert page == tmp_path / "new" / "report.html"
    reader = read(page)
    assert reader.tags.count("script") == 1, "the page's own"
    assert reader.texts.count(EVIL) == 8, "title, h1, h2, p, pre, th, td, figcaption"
    assert reader.tags.count("svg") == 1


def test_the_page_loads_nothing(tmp_path):
    figure = Drawing(cell_figure(BENCH, GROUPS))
    page = write_page(tmp_path, "run", Section("Cell", [figure]), Section("Again", [figure]))
    reader = read(page)
    assert all(link.startswith("#") for link in reader.links)
    assert reader.tags.count("script") == 1, "the page's own"
    assert not {"link", "img", "iframe", "object"} & set(reader.tags)
    text = page.read_text()
    assert "default-src 'none'" in text, "nor could it, if a browser were told to"
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) - len(set(ids)) == len(re.findall(r'\bid="f', text)) // 2, "but for the same figure, drawn twice"
    assert reader.tags.count("style") == 1, "a figure's own style would reach out to the page"
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "nor_conv_1x1" in reader.texts


def show(table):
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def test_genotype_table_has_every_row():
    lines = [line.split() for line in show(genotype_table(BENCH, GROUPS)).splitlines()]
    assert ["cell", "0->1", "nor_conv_3x3"] in lines
    assert ["0->2", "–"] in lines
    assert ["2->3", "nor_conv_1x1"] in lines


def test_history_table_shows_the_last_records():
    history = [{"epoch": e, "train_loss": 1 / (e + 1), "valid_accuracy": None, "skip_share": 0.25} for e in range(12)]
    history[-1]["valid_accuracy"] = 0.5
    lines = [line.split() for line in show(history_table(history, last=2)).splitlines() if line.strip()]
    assert lines[0] == ["epoch", "train", "loss", "valid", "accuracy", "skips"]
    assert lines[2:] == [["11", "0.0909", "–", "25.00%"], ["12", "0.0833", "50.00%", "25.00%"]]


def test_tables_know_no_markup():
    assert "[red]accuracy[/red]  [link]" in show(result_table([("[red]accuracy[/red]", "[link]")]))
