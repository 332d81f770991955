"""The page of a search: what it found, how sure that is, how it came to it, and what to do next."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poise.config.settings import RunSettings
from poise.costs.target import readable
from poise.diagnostics.decidedness import Decidedness
from poise.engine.notes import notes_of
from poise.engine.run import DIAGNOSIS, SIZE, RunFolder, read_text
from poise.errors import Refused
from poise.genotype import Genotype
from poise.named import FROM_PYTHON
from poise.report.curves import Record, panels_of
from poise.report.decidedness import leads_grid
from poise.report.known import Known, known
from poise.report.page import (
    Block,
    Code,
    Curves,
    Downloads,
    Drawing,
    Fact,
    Folded,
    Grid,
    Links,
    Page,
    Paragraph,
    Section,
    Status,
)
from poise.report.render import data_link
from poise.spaces.space import Doubting
from poise.supernet.groups import ChoiceGroup
from poise.workflow.costing import cost_line, load_cost
from poise.workflow.decidedness import load_decidedness
from poise.workflow.decisions import decisions_section
from poise.workflow.moments import timeline
from poise.workflow.saved import is_own
from poise.workflow.saved_supernet import load_alphas
from poise.workflow.sentences import (
    about_method,
    command,
    data_name,
    measure_text,
    metric_in,
    operations,
    progress,
    result_facts,
    size_facts,
)
from poise.workflow.trained_inside import Outcome, outcomes

LARGEST = 300_000
"""Bytes of a file that a page holds to be taken out of it."""


def search_page(
    folder: RunFolder, settings: RunSettings, space: Any, groups: Sequence[ChoiceGroup], state: Status = "finished"
) -> Page:
    """Everything that the folder of a search says by now.

    Args:
        folder: of the run.
        settings: that it was started with.
        space: a space, or what is known of a module of your own.
        groups: what is left of its groups in the stage that the search is in.
        state: ``finished`` only once there is a genotype.

    Raises:
        Refused: a file that has to be there is missing, or damaged.
    """
    history = folder.history()
    done = state == "finished"
    genotype = folder.genotype() if done else None
    decided = load_decidedness(folder) if done else None
    cost = load_cost(folder) if done else None
    truth = known(genotype) if genotype else None
    inside = outcomes(folder) if done else []
    best = next((each for each in inside if each.current and each.result), None)
    said = space.describe(genotype) if genotype else None
    told = f"{decided.told[0].upper()}{decided.told[1:]}" if decided else ""
    return Page(
        title=_name(folder.path),
        what="search",
        sentence=_sentence(settings, genotype, history, best, state),
        state=state,
        progress=progress(history, settings.search.epochs, state),
        facts=_facts(folder, settings, history, decided, cost, truth, best),
        warnings=_warnings(folder, settings, space, genotype, history, decided, cost, inside, done),
        commands=_commands(folder, settings, best, state),
        sections=[
            section
            for section in (
                _architecture(folder, settings, groups, genotype, history),
                Section("The method", about_method(settings)),
                _curves(history),
                _inside(inside),
                Section("How decided it is", [Paragraph(told), *leads_grid(decided)]) if decided else None,
                decisions_section(folder, history) if done else None,
                truth.section() if truth else None,
                _cost(cost),
                diagnosis(folder),
                details(folder, {"genotype": genotype} if genotype else {}, history, said),
            )
            if section is not None
        ],
        written=time.time(),
    )


def _name(path: Path) -> str:
    return path.name or path.absolute().name or str(path)


def _sentence(
    settings: RunSettings, genotype: Genotype | None, history: Sequence[Record], best: Outcome | None, state: Status
) -> str:
    method, space, data = settings.method_name, settings.space.name, data_name(settings)
    if genotype is None:
        doing = {"running": "is searching", "stopped": "was searching"}.get(state, "searched")
        return f"{method} {doing} the space {space} on {data}."
    epochs = f"{len(history)} epoch{'' if len(history) == 1 else 's'}"
    found = f"On {data}, {method} searched the space {space} for {epochs} and chose: {operations(genotype)}."
    if best and best.text:
        found += f" Trained from scratch, that network reaches {best.text}."
    return found


def _facts(
    folder: RunFolder, settings: RunSettings, history: Sequence[Record], decided: Decidedness | None,
    cost: Mapping[str, Any] | None, truth: Known | None, best: Outcome | None,
) -> list[Fact]:  # fmt: skip
    metric, found = metric_in(history), list[Fact]()
    if best is not None:
        found += result_facts(best.result, settings, best.tested, metric, f"after training, {best.name}/")
    elif history and metric is not None and isinstance(history[-1].get(f"search_{metric}"), int | float):
        value = measure_text(f"search_{metric}", history[-1][f"search_{metric}"], settings)
        found.append(Fact(f"search {metric.replace('_', ' ')}", value, "of the supernet, not of a trained network"))
    if best is None:
        found += size_facts(cost or _size(folder))
    if cost and cost["metric"] == "latency":
        value = cost.get("true") or cost["summed"]
        found.append(Fact("latency", readable("latency", value), "measured" if cost.get("true") else "by the table"))
    if decided and decided.unknown is None:
        firm = len(decided.leads) - len(decided.barely)
        found.append(Fact("decided", f"{firm} of {len(decided.leads)}", "choices lead by more than chance explains"))
    if truth and truth.rows:
        data, accuracy, rank, _ = truth.rows[1]
        of = truth.rows[0][2].removeprefix("rank ")
        found.append(Fact("ground truth", accuracy, f"{data} in NAS-Bench-201, rank {rank} {of}"))
    return found


def _size(folder: RunFolder) -> dict[str, Any]:
    try:
        return folder.read_json(SIZE) if folder.holding(SIZE) else {}
    except Refused:
        return {}


def _warnings(
    folder: RunFolder, settings: RunSettings, space: Any, genotype: Genotype | None, history: Sequence[Record],
    decided: Decidedness | None, cost: Mapping[str, Any] | None, inside: Sequence[Outcome], done: bool,
) -> list[str]:  # fmt: skip
    found = notes_of(folder)
    try:
        guard = settings.method.guard(history).warning if history else None
    except (KeyError, TypeError, ValueError):
        guard = None  # a damaged history
    if guard and guard not in found:
        found.append(guard)
    if decided and decided.barely:
        found.append(str(decided))
    if cost:
        found.append(cost_line(cost))
    doubt = space.doubt(genotype) if genotype and isinstance(space, Doubting) else None
    if doubt and doubt not in found:
        found.append(doubt)
    return found + [
        f"{each.name}/ holds the network of another genotype than this one" for each in inside if not each.current
    ]


def _commands(folder: RunFolder, settings: RunSettings, best: Outcome | None, state: Status) -> list[tuple[str, str]]:
    path = folder.path
    if state == "running":
        return []
    if state == "stopped":
        return [("Go on where it stopped", command("resume", path))]
    if best is not None:
        net = path / best.name
        return [
            ("Predict new inputs", command("predict", net, "FILES")),
            ("Export the network", command("export", net, "--to", "onnx")),
        ]
    if is_own(settings) or settings.data.source == FROM_PYTHON:
        return [("Train the network, in Python", "poise.train(result, data)")]
    return [("Train the network it found", command("train", path))]


def _architecture(
    folder: RunFolder, settings: RunSettings, groups: Sequence[ChoiceGroup], genotype: Genotype | None,
    history: Sequence[Record],
) -> Section | None:  # fmt: skip
    outcome = (genotype, load_alphas(folder, groups)) if genotype is not None else None
    shown = timeline(history, groups, settings.method, settings.space.name, outcome)
    return Section("The architecture" if genotype else "The architecture so far", [shown]) if shown else None


def _curves(history: Sequence[Record]) -> Section | None:
    panels = panels_of(history)
    return Section("Curves", [Curves(panels)]) if panels else None


def _inside(inside: Sequence[Outcome]) -> Section | None:
    links = [(f"{each.name}/", f"{each.name}/report.html", each.text) for each in inside]
    return Section("Trained networks", [Links(links)]) if links else None


def _cost(cost: Mapping[str, Any] | None) -> Section | None:
    if cost is None:
        return None
    metric = cost["metric"]
    names = {"target": "target", "expected": "expected of the mixture", "summed": "by the table", "true": "measured"}
    if metric != "latency":
        names = {"target": "target", "expected": "expected of the mixture", "true": "of the network"}
    rows = [
        (f"{metric}, {text}", "not measured" if cost.get(name) is None else readable(metric, cost[name]))
        for name, text in names.items()
    ]
    rows += [(name, readable(name, cost[name])) for name in ("macs", "parameters") if name != metric]
    return Section("Cost", [Grid(rows)])


def diagnosis(folder: RunFolder) -> Section | None:
    """What the diagnostics found, if they were asked."""
    from poise.report.diagnosis import readable as number

    if not folder.holding(DIAGNOSIS):
        return None
    try:
        findings = folder.read_json(DIAGNOSIS)["findings"]
        numbers = {name: value for finding in findings.values() for name, value in finding["numbers"].items()
                   if isinstance(value, int | float)}  # fmt: skip
        blocks: list[Block] = [Grid([[name.replace("/", " · "), number(name, numbers)] for name in numbers])]
        for name in findings:
            figure = folder.path / "figures" / f"{Path(name).name}.svg"
            if figure.is_file():
                blocks.append(Drawing(figure, f"Measured by {name}."))
    except (Refused, KeyError, TypeError, AttributeError):
        return None
    return Section("Diagnostics", blocks)


def details(
    folder: RunFolder, genotypes: Mapping[str, Genotype], history: Sequence[Record], said: str | None
) -> Section:
    """Configuration, environment, genotype, and files to be taken along."""
    config = read_text(folder.path / "config.yaml", errors="replace")
    blocks: list[Block] = [Folded("Configuration", [Code(config)])]
    about = folder.environment
    if about:
        blocks.append(Folded("Environment", [Grid(list(about.items()))]))
    files = {"config.yaml": data_link(config, "application/yaml")}
    for name, genotype in genotypes.items():
        text = genotype.to_json()
        blocks.append(Folded("Genotype", [*([Code(said)] if said else []), Code(text)]))
        files[f"{name}.json"] = data_link(text, "application/json")
    numbers = [{key: value for key, value in record.items() if key != "alphas"} for record in history]
    if numbers:
        files["history.json"] = data_link(json.dumps(numbers), "application/json")
    for stem in ("cells", "mixture"):
        figure = folder.path / "figures" / f"{stem}.svg"
        if figure.is_file():
            files[f"{stem}.svg"] = data_link(figure.read_bytes(), "image/svg+xml")
    small = {name: link for name, link in files.items() if len(link) <= LARGEST}
    return Section("Details", [*blocks, Downloads(small)])
