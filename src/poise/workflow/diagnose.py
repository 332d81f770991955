"""Diagnose a saved supernet, or the result of a search: what its alphas rest on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from poise.config.resolve import override
from poise.config.settings import RunSettings
from poise.diagnostics.diagnostic import BATCHES, DIAGNOSTICS, Diagnostic, Finding, Subject
from poise.engine.events import Listener, Noted, Started, Stepped
from poise.engine.run import DIAGNOSIS, RunFolder
from poise.engine.searcher import Searcher
from poise.engine.stages import Stage
from poise.errors import Refused
from poise.genotype import Genotype
from poise.report.diagnosis import numbers_text, readable
from poise.report.landscape import landscape_figure
from poise.report.progress import progress
from poise.report.style import save_figure
from poise.report.summary import Summarised, Summary
from poise.spaces.space import kept_of
from poise.tasks.task import Task
from poise.workflow.early import check_batches
from poise.workflow.prepare import Preparation
from poise.workflow.saved import check_unused, settings_of, with_own
from poise.workflow.saved_supernet import load_alphas
from poise.workflow.search import SearchResult
from poise.workflow.stages import at_the_end, stage_count


@dataclass(frozen=True, repr=False)
class Diagnosis(Summarised):
    """What the diagnostics found; printed, it is a table.

    Args:
        findings: diagnostic -> what it found.
        batches: the batches of the search half behind everything that is not said to see the whole half.
        files: what was written: ``diagnose.json`` and the figures; none for a result that was never saved.
    """

    findings: Mapping[str, Finding]
    batches: int
    files: tuple[Path, ...] = ()

    @property
    def numbers(self) -> dict[str, float]:
        """All numbers by name."""
        return {name: value for finding in self.findings.values() for name, value in finding.numbers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything that was found, as in ``diagnose.json``; a number that is not finite is None."""
        found = {name: _plain(asdict(finding)) for name, finding in self.findings.items()}
        return {"format": "poise.diagnosis", "version": 1, "batches": self.batches, "findings": found}

    def summary(self) -> Summary:
        """The first numbers, and what to do next."""
        numbers = [(name, readable(name, self.numbers)) for name in self.numbers]
        rows = [*numbers, ("next", f"see {self.files[-1]}" if self.files else "print(diagnosis) shows every number")]
        return Summary(f"Diagnosed by {', '.join(self.findings)}", rows)

    def __str__(self) -> str:
        return numbers_text(self.numbers)


def diagnose(
    run: str | Path | SearchResult,
    only: Sequence[str | Diagnostic] = (),
    *,
    data: Any = None,
    module: nn.Module | None = None,
    task: Task | None = None,
    device: str | None = None,
    batches: int = BATCHES,
    listen: Listener | None = None,
) -> Diagnosis:
    """Measure a trained supernet with the papers' diagnostics. Supernet and run stay as they are.

    A run's folder gets ``diagnose.json``, and a figure for every diagnostic that has one; for the result of a search
    that was not saved nothing is written.

    Args:
        run: the folder of a finished search, or the result of `poise.search`.
        only: names of ``poise list diagnostics``, or values such as ``Landscape(points=21)``; by default all.
        data: the data, where it is not where it was, or came from Python.
        module, task: for the folder of a run of a module or a task of your own: these, as they were given to
            `poise.search`.
        device: by default the run's.
        batches: of the search half, for the diagnostics that do not see all of it.
        listen: as in `poise.search`.

    Raises:
        Refused: bad input, before anything is measured.
    """
    chosen = _chosen(only)
    check_batches(batches)
    if isinstance(run, SearchResult):
        check_unused(module, "the result of a search has its own", task)
        with progress(listen) as hear:
            return Diagnosis(measure(_of_result(run, data, device), run.genotype, chosen, batches, hear), batches)
    folder = RunFolder.open(Path(run), "search")
    with progress(listen) as hear:
        searcher, genotype = _of_folder(folder, data, module, task, device, hear)
        found = Diagnosis(measure(searcher, genotype, chosen, batches, hear), batches)
    return replace(found, files=tuple(_write(folder, found)))


def measure(
    searcher: Searcher, genotype: Genotype, chosen: Sequence[Diagnostic], batches: int, listen: Listener
) -> dict[str, Finding]:
    """Every diagnostic in turn; ``listen`` hears of their work as steps of one stage."""
    done = 0

    def tick(steps: int) -> None:
        nonlocal done
        done += steps
        listen(Stepped("diagnose", done))

    subject = Subject(searcher, kept_of(genotype, searcher.groups), batches, tick)
    listen(Started("diagnose", sum(diagnostic.steps(subject) for diagnostic in chosen)))
    return {diagnostic.kind: diagnostic(subject) for diagnostic in chosen}


def _chosen(only: Sequence[str | Diagnostic]) -> list[Diagnostic]:
    if isinstance(only, str):
        raise Refused(f"only takes a list of diagnostics, got {only!r}; write [{only!r}]")
    chosen: list[Diagnostic] = []
    for each in only or list(DIAGNOSTICS):
        diagnostic: Diagnostic = DIAGNOSTICS[each]() if isinstance(each, str) else each
        if any(diagnostic.kind == other.kind for other in chosen):
            raise Refused(f"diagnostic {diagnostic.kind!r} is asked for twice")
        chosen.append(diagnostic)
    return chosen


def _of_folder(
    folder: RunFolder, data: Any, module: nn.Module | None, task: Task | None, device: str | None, listen: Listener
) -> tuple[Searcher, Genotype]:
    """The searcher of a finished run, as it ended, and the genotype that the last selection chose."""
    settings = with_own(folder, settings_of(folder, device=device), module, task, "diagnose")
    for name in ("supernet.safetensors", "alphas.safetensors", "genotype.json"):
        if not (folder.path / name).is_file():
            raise Refused(f"{folder.path} holds no {name}: the run is not finished; poise resume {folder.path}")
    genotype = folder.genotype()
    prepared = at_the_end(folder, Preparation.of(settings, data, priced=False))
    prepared.space.check(genotype)
    searcher = prepared.searcher(load_alphas(folder, prepared.groups))
    searcher.supernet.load_state_dict(folder.load_tensors("supernet.safetensors", searcher.supernet.state_dict()))
    if not folder.began_with(prepared.material.fingerprint):
        listen(Noted(f"the data is not that of {folder.path}, so the numbers are not those of its search"))
    return searcher, genotype


def _of_result(result: SearchResult, data: Any, device: str | None) -> Searcher:
    settings: RunSettings = result.settings
    if data is None and settings.data.source == "python":
        raise Refused("the data of this search came from Python; pass it again as data=")
    if device is not None:
        settings = override(settings, [("device", device)])
    prepared = Preparation.of(settings, data, priced=False)
    last = stage_count(prepared) - 1
    if last:  # the result is of what the last stage searched
        prepared = replace(prepared, space=result.space, groups=result.groups, stage=Stage(last))
    return prepared.searcher(dict(result.alphas), dict(result.supernet.state_dict()))


def _write(folder: RunFolder, found: Diagnosis) -> list[Path]:
    files = [folder.write(DIAGNOSIS, json.dumps(found.to_dict(), indent=1))]
    for name, finding in found.findings.items():
        if finding.surfaces:
            files += save_figure(landscape_figure(finding.surfaces), folder.path / "figures", name)
    return files


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
