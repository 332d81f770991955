"""What pages say of a run, in words."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poise.config.settings import RunSettings
from poise.engine.objective import ACCURACY
from poise.genotype import Genotype
from poise.named import FROM_PYTHON
from poise.registries import METHODS, SELECTIONS
from poise.report.catalogue import summary
from poise.report.page import Block, Fact, Grid, Paragraph
from poise.report.readable_numbers import duration, is_share, parts, shares, words

KINDS = (
    ("skip", "skip connection"),
    ("identity", "skip connection"),
    ("max_pool", "max pooling"),
    ("avg_pool", "average pooling"),
    ("dil_conv", "dilated convolution"),
    ("sep_conv", "separable convolution"),
    ("conv", "convolution"),
)
"""Part of an operation's name -> what a sentence calls it."""


def operations(genotype: Genotype) -> str:
    """What a genotype keeps, counted: ``4 convolutions, 2 skip connections``."""
    names = [name for rows in genotype.choices.values() for kept in rows.values() for name in kept]
    found = Counter(next((text for part, text in KINDS if part in name), name) for name in names)
    parts = [f"{count} {name if count == 1 or name.endswith('pooling') else f'{name}s'}" if name in
             {text for _, text in KINDS} else f"{count} × {name}" for name, count in found.most_common()]  # fmt: skip
    return ", ".join(parts) if parts else "nothing at all"


def data_name(settings: RunSettings) -> str:
    """The data, without the folders that it lies in."""
    source = settings.data.source
    return "data from Python" if source == FROM_PYTHON else Path(source).name or source


def about_method(settings: RunSettings) -> list[Block]:
    """What the method does, in two sentences, and where that was published."""
    name, rule = settings.method_name, settings.method.selection.kind
    chosen = (
        f"The architecture is selected by {rule}: {_lower(summary(SELECTIONS, rule))}" if rule in SELECTIONS else ""
    )
    if name not in METHODS:
        slots = [f"{slot}={getattr(getattr(settings.method, slot), 'kind', '?')}" for slot in
                 ("relaxation", "perturbation", "alignment", "hypergradient")]  # fmt: skip
        return [Paragraph(f"A method of your own: {', '.join(slots)}. {chosen}")]
    return [
        Paragraph(f"{name}: {_lower(summary(METHODS, name))} {chosen}"),
        Paragraph(f"Source: {METHODS.value(name, 'citation')}."),
    ]


def command(*parts: str | Path) -> str:
    """A command, ready for a shell."""
    return shlex.join(["poise", *map(str, parts)])


def accuracy_interval(result: Mapping[str, Any], settings: RunSettings, tested: int | None) -> str:
    """Wilson's interval (95%) of a test accuracy over ``tested`` predictions; empty where that is not what counts."""
    measures, value = settings.task.measures, result.get(f"test_{ACCURACY.name}")
    if tested is None or value is None or not measures or measures[0] != ACCURACY:
        return ""
    from scipy.stats import binomtest

    found = binomtest(round(value * tested), tested).proportion_ci(0.95, "wilson")
    return f"95% interval {100 * found.low:.1f} to {100 * found.high:.1f}%, {tested:,} tested"


def result_facts(
    result: Mapping[str, Any], settings: RunSettings, tested: int | None, metric: str | None, what: str = ""
) -> list[Fact]:
    """The metric that counts on the test split (or, without one, on validation), parameters and multiply-adds."""
    found = []
    for split in ("test", "valid"):
        name = f"{split}_{metric}"
        if metric is not None and name in result:
            interval = accuracy_interval(result, settings, tested) if split == "test" else ""
            value = measure_text(name, result[name], settings)
            found.append(Fact(f"{words(name) if split == 'test' else f'validation {words(metric)}'}", value,
                              ". ".join(part for part in (interval, what) if part)))  # fmt: skip
            break
    return found + size_facts(result)


def size_facts(numbers: Mapping[str, Any]) -> list[Fact]:
    """Parameters and multiply-adds, as far as they are known."""
    names = {"parameters": ("parameters", "of the network"), "macs": ("multiply-adds", "for one input")}
    return [
        Fact(label, compact(numbers[name]), note)
        for name, (label, note) in names.items()
        if isinstance(numbers.get(name), int | float)
    ]


def compact(value: float) -> str:
    """A count in three digits: ``1.23 M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:,.0f}"


def measure_text(name: str, value: float, settings: RunSettings) -> str:
    """A metric as a person reads it."""
    own = [{"metric": {"name": metric.name, "share": metric.share}} for metric in settings.task.measures]
    return f"{100 * value:.2f}%" if is_share(name, shares(own)) else f"{value:.4g}"


def metric_in(history: Sequence[Mapping[str, Any]]) -> str | None:
    """The name of the metric that counts, by the records."""
    metric = history[-1].get("metric") if history else None
    return str(metric["name"]) if isinstance(metric, Mapping) and "name" in metric else None


def progress(history: Sequence[Mapping[str, Any]], epochs: int, state: str) -> str:
    """How far a run is: ``Epoch 3 of 50, about 4 min left.``"""
    done = len(history)
    times = [float(record["seconds"]) for record in history if isinstance(record.get("seconds"), int | float)]
    if state == "finished":
        return f"{done} epochs in {duration(sum(times))}." if done != 1 else f"1 epoch in {duration(sum(times))}."
    if state == "running" and done >= epochs:
        return "All epochs are done; what comes after them is under way."
    left = f", about {duration(times[-1] * (epochs - done))} left" if times and state == "running" else ""
    return f"Epoch {done} of {epochs} is done{left}."


def class_rows(result: Mapping[str, Any], settings: RunSettings) -> list[Block]:
    """A table of the numbers of single classes, if there are any: ``test_accuracy/cat``."""
    named = {name: value for name, value in result.items() if "/" in name and isinstance(value, int | float)}
    heads = list(dict.fromkeys(name.partition("/")[0] for name in named))
    classes = list(dict.fromkeys(name.partition("/")[2] for name in named))
    if not classes:
        return []

    def cell(head: str, each: str) -> str:
        name = f"{head}/{each}"
        return measure_text(head, named[name], settings) if name in named else "–"

    rows = [[each, *(cell(head, each) for head in heads)] for each in classes]
    return [Grid(rows, ["class", *(words(parts(head)[1]) for head in heads)], numbers=True)]


def _lower(text: str) -> str:
    """A sentence that goes on after a colon, unless it begins with a name."""
    first = text.split(" ", 1)[0]
    return text if first[1:] != first[1:].lower() or not first.isalpha() else text[0].lower() + text[1:]
