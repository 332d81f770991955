"""A run as pictures, tables and one page."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from poise.config.settings import RunSettings
from poise.costs.target import readable
from poise.engine.run import DRAWN, RunFolder
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.report.cell import cell_figure
from poise.report.curves import curves_figure
from poise.report.known import known
from poise.report.mixture import mixture_figure
from poise.report.page import FILE
from poise.report.style import save_figure
from poise.report.tables import genotype_table, history_table, result_rows, result_table
from poise.spaces.space import Space
from poise.supernet.groups import ChoiceGroup, searchable
from poise.workflow.costing import load_cost
from poise.workflow.decidedness import load_decidedness
from poise.workflow.networks_inside import Inside, chosen_by, superseded, trainings_in
from poise.workflow.prepare import Preparation
from poise.workflow.saved import SavedModule, is_own, settings_of
from poise.workflow.saved_supernet import load_alphas
from poise.workflow.search_page import search_page
from poise.workflow.stages import at_the_end
from poise.workflow.training_page import training_page

Shown = Space | SavedModule
"""What a run's pictures and tables need of its space: its groups, and words for a genotype."""


def draw_run(folder: RunFolder, settings: RunSettings, space: Shown, groups: tuple[ChoiceGroup, ...]) -> None:
    """Draw a search's cells, mixture and curves as SVG and PNG, and write its ``report.html``; ``groups``: what
    was left of the space's in the end."""
    relaxation, shown = settings.method.relaxation, searchable(groups)
    mixture = {name: relaxation(values) for name, values in load_alphas(folder, groups).items()}
    figures = folder.path / "figures"
    save_figure(cell_figure(folder.genotype(), shown), figures, "cells")
    save_figure(mixture_figure(mixture, shown), figures, "mixture")
    folder.write(FILE, search_page(folder, settings, space, groups).html())
    save_figure(curves_figure(folder.history()), figures, "curves")  # last of all, see `poise.engine.run.DRAWN`


def show_search(folder: RunFolder) -> Shown:
    """Draw a search again; returns its space, or what is known of a module of your own."""
    settings, space, groups = _searched(folder)
    draw_run(folder, settings, space, groups)
    return space


def _searched(folder: RunFolder) -> tuple[RunSettings, Shown, tuple[ChoiceGroup, ...]]:
    """What a finished search was of."""
    settings = settings_of(folder, device="cpu")
    if is_own(settings):
        own: Shown = settings.space
        return settings, own, own.groups
    prepared = at_the_end(folder, Preparation.of(settings, priced=False))
    return settings, prepared.space, prepared.groups


def show_training(folder: RunFolder) -> None:
    """Write the page of a training again. Raises `Refused` for one of a space that exists in Python only."""
    settings = settings_of(folder, device="cpu")
    done = folder.holding("result.json") is not None
    folder.write(FILE, training_page(folder, settings, settings.space, "finished" if done else "stopped").html())


def renew_page(network: RunFolder) -> None:
    """Where a network was trained in a search's folder, let that search's page say so; where that cannot be, it stays
    as it is."""
    try:
        folder = RunFolder(network.path.absolute().parent)
        if RunFolder.kind_of(folder.path) == "search" and folder.holding(DRAWN):
            folder.write(FILE, search_page(folder, *_searched(folder)).html())
    except Refused:
        return


def draw_training(output: Output) -> None:
    """Draw the curves of a retraining, where it is saved."""
    if folder := output.holding("history.jsonl"):
        save_figure(curves_figure(folder.history()), folder.path / "figures", "curves")


def cost_table(folder: RunFolder) -> list[RenderableType]:
    """What the network costs, where the search had a target."""
    found = load_cost(folder)
    if found is None:
        return []
    names = ("target", "expected", "summed", "true") if found["metric"] == "latency" else ("target", "expected", "true")
    rows = [
        (name, "not measured" if found.get(name) is None else readable(found["metric"], found[name])) for name in names
    ]
    rows += [(name, readable(name, found[name])) for name in ("macs", "parameters") if name != found["metric"]]
    labels = {"true": "measured" if found["metric"] == "latency" else "true", "summed": "by the table"}
    return [result_table([(f"{found['metric']} {labels.get(n, n)}" if n in names else n, text) for n, text in rows])]


def run_tables(folder: RunFolder, space: Shown, *, every: bool = True, again: bool = True) -> RenderableType:
    """A search as tables for the terminal: its genotype, ``every`` row or those that keep something; where a network
    in its folder is of another one, that too; and ``again`` what was told as it went: its epochs, how decided it is."""
    genotype, groups, trained = folder.genotype(), searchable(space.groups), trainings_in(folder)
    rows = [("genotype", f"the run's, {chosen_by(folder, genotype)}")]
    rows += [(training.name, _trained_on(training)) for training in trained]
    others = [training for training in trained if not training.current]
    found, decidedness = known(genotype), load_decidedness(folder)
    return Group(
        genotype_table(genotype, groups, decidedness, every),
        *([Text(decidedness.told)] if again else []),
        *([result_table(rows)] if trained else []),
        *(
            table
            for other in others
            for table in (Text(f"{other.name}:"), genotype_table(other.genotype, groups, None, every))
        ),
        *([history_table(folder.history())] if again else []),
        *cost_table(folder),
        *([found.table()] if found else ()),
    )


def _trained_on(training: Inside) -> str:
    if training.current:
        return "trained on this genotype"
    return f"trained on another genotype, {training.chosen_by}; train again to have that of the run's"


def training_tables(folder: RunFolder, *, each: bool = True, epochs: bool = True) -> RenderableType:
    """A retrained network as tables for the terminal: its ``epochs``, and its result, of ``each`` class if they are
    many."""
    history, text = folder.history(), superseded(folder)
    shown = [history_table(history)] if epochs else []
    return Group(*shown, result_table(result_rows(folder.result(), history, each)), *([Text(text)] if text else ()))


def pictures(folder: RunFolder) -> list[Path]:
    """The run's figures."""
    return sorted((folder.path / "figures").glob("*.svg"))


def pages(folder: RunFolder) -> list[Path]:
    """The run's page."""
    return sorted(folder.path.glob("*.html"))
