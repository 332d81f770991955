"""A selection after a training: the trained network is still the earlier genotype's, and that is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import poise
from poise.engine.events import Event, Noted
from poise.engine.run import RunFolder
from poise.workflow.show import run_tables, show_search, training_tables

CHAIN = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|none~2|"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose current genotype, and that of its network, its magnitude rule chose."""
    out = tmp_path_factory.mktemp("selected") / "run"
    settings: dict[str, Any] = {"search.epochs": 1, "search.images_per_half": 64, "search.batch_size": 32}
    settings |= {"train.channels": 2, "train.cells": 1, "train.epochs": 1}
    space = poise.spaces.nasbench201(channels=2, cells=1)
    found = poise.search("digits", space=space, method="darts", preset="demo", settings=settings, out=out)
    poise.train(found, out=out / "net")
    return out


def other(run: Path) -> poise.Genotype:
    """Makes the run's current genotype another one, as a selection by another rule would; returns it."""
    genotype = poise.Genotype.parse(CHAIN)
    assert genotype != RunFolder(run).genotype()
    RunFolder(run).write("genotype.json", genotype.to_json())
    RunFolder(run).write("genotype-threshold.json", genotype.to_json())
    return genotype


def notes(run: Path, rule: str) -> list[str]:
    heard: list[Event] = []
    poise.select(run, rule, listen=heard.append)
    return [event.message for event in heard if isinstance(event, Noted)]


def shown(run: Path) -> str:
    console = Console(width=200, no_color=True)
    with console.capture() as capture:
        console.print(run_tables(RunFolder(run), show_search(RunFolder(run))))
    return capture.get()


def test_a_selection_says_that_the_network_is_of_the_earlier_genotype(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    assert not [text for text in notes(run, "magnitude") if "train again" in text], "it is the same genotype"
    genotype = other(run)
    RunFolder(run / "net").write("genotype.json", genotype.to_json())  # the network is threshold's
    shutil.copytree(run / "net", run / "second")
    (run / "broken").mkdir()
    for name in ("run.json", "config.yaml", "genotype.json"):
        (run / "broken" / name).write_text("{")
    said = [text for text in notes(run, "magnitude") if "train again" in text]
    assert said == [
        f"{run / name} still holds the network of another genotype, chosen by threshold; to have that of the new one, "
        f"train again: poise train {run} --overwrite{place}"
        for name, place in (("net", ""), ("second", f" --out {run / 'second'}"))
    ]
    (run / "genotype-threshold.json").unlink()
    assert "which no selection of this run holds now" in notes(run, "magnitude")[-1]


def test_show_shows_both(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    text = shown(run)
    assert "the run's, chosen by magnitude" in text
    assert "trained on this genotype" in text
    assert "net:" not in text
    before = RunFolder(run).genotype()
    other(run)
    text = shown(run)
    assert "the run's, chosen by threshold" in text
    assert "trained on another genotype, chosen by magnitude" in text
    earlier = text[text.index("net:") :]
    kept = {name for rows in before.choices.values() for names in rows.values() for name in names}
    assert all(name in earlier for name in kept)
    assert "nor_conv_3x3" in text[: text.index("net:")]


def test_the_network_itself_says_that_the_run_has_moved_on(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")

    def said() -> list[str]:
        console, heard = Console(width=400, no_color=True), list[Event]()
        with console.capture() as capture:
            console.print(training_tables(RunFolder(run / "net")))
        poise.evaluate(run / "net", "digits", listen=heard.append)
        lines = [event.message for event in heard if isinstance(event, Noted)]
        return [line for line in [*capture.get().splitlines(), *lines] if "holds another one" in line]

    assert said() == []
    other(run)
    text = (
        f"this network is of a genotype chosen by magnitude; {run} holds another one now, which is trained by: poise "
        f"train {run} --overwrite"
    )
    assert [line.strip() for line in said()] == [text, text]


def test_a_run_without_a_network_shows_none(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(run / "net")
    assert "trained on" not in shown(run)


def test_a_search_over_a_run_says_that_its_network_is_of_the_earlier_search(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    RunFolder(run / "net").write("genotype.json", poise.Genotype.parse(CHAIN).to_json())
    heard: list[Event] = []
    settings: dict[str, Any] = {"search.epochs": 1, "search.images_per_half": 64, "search.batch_size": 32}
    poise.search(
        "digits", space=poise.spaces.nasbench201(channels=2, cells=1), method="darts", preset="demo", settings=settings,
        out=run, overwrite=True, listen=heard.append,
    )  # fmt: skip
    said = [event.message for event in heard if isinstance(event, Noted)]
    assert sum("still holds the network of another genotype" in text for text in said) == 1
