"""Search an architecture: the main job, in one call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from poise.config.resolve import resolve
from poise.config.settings import RunSettings
from poise.costs.costs import aims
from poise.costs.target import CostTarget
from poise.diagnostics.decidedness import Decidedness
from poise.diagnostics.diagnostic import all_of
from poise.engine.batch_memory import search_step
from poise.engine.checkpoint import NOWHERE, State
from poise.engine.checkpointer import Checkpointer, RunControl
from poise.engine.events import Listener, Noted
from poise.engine.joining import joined
from poise.engine.notes import noting
from poise.engine.run import RunFolder
from poise.engine.searcher import Searcher
from poise.engine.sgd import optimizer_state, restore_optimizer
from poise.engine.stages import Searched, Stage, search_in_stages
from poise.engine.trained import TrainedSupernet
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.genotype import Genotype
from poise.methods.method import Method
from poise.report.known import known
from poise.report.page import Page, Status
from poise.report.progress import progress
from poise.report.summary import Summarised, Summary, cells, epochs, measured
from poise.selection.rule import Decision
from poise.spaces.custom import ModuleSpace, with_choices_made
from poise.spaces.space import Doubting, Space, genotype_of
from poise.supernet.global_norm import locally
from poise.supernet.groups import ChoiceGroup
from poise.supernet.processes import Processes
from poise.supernet.supernet import ModuleSupernet
from poise.tasks.task import Task
from poise.trackers.tracker import check_trackers
from poise.workflow.context import RunContext
from poise.workflow.costing import load_cost, report_cost, save_size
from poise.workflow.decidedness import judge, load_decidedness, save_decidedness
from poise.workflow.decisions import save_decisions
from poise.workflow.inference import inferred
from poise.workflow.live import LivePage
from poise.workflow.memory import fitting, memory_explained
from poise.workflow.networks_inside import note_trainings
from poise.workflow.prepare import Preparation
from poise.workflow.saved_supernet import load_supernet, save_supernet
from poise.workflow.search_page import search_page
from poise.workflow.show import draw_run
from poise.workflow.stages import at_the_end, rehearsal, save_stage


@dataclass(frozen=True, repr=False)
class SearchResult(Summarised):
    """What a search found; printed, a summary of it.

    Args:
        genotype: the architecture.
        alphas: group -> ``[rows, candidates]``.
        supernet: the trained supernet, an `nn.Module`.
        history: one record per epoch, as in ``history.jsonl``.
        settings: everything that decided the run.
        space: the space that was searched.
        folder: where the run was saved, or None.
        decidedness: how far the alphas tell each choice from its rival, as in ``decidedness.json``; print it.
        cost: where the search had a cost target: that, the expected and the true cost, as in ``cost.json``.
    """

    genotype: Genotype
    alphas: Mapping[str, Tensor]
    supernet: nn.Module
    history: Sequence[Mapping[str, Any]]
    settings: RunSettings
    space: Space
    folder: Path | None
    decidedness: Decidedness
    cost: Mapping[str, Any] | None = None

    def summary(self) -> Summary:
        """The genotype, how the supernet does, and what to do next."""
        last = self.history[-1] if self.history else {}
        own = isinstance(self.supernet, ModuleSupernet)
        train = f"poise.train(result{', data' if own or self.settings.data.source == 'python' else ''})"
        cost = {self.cost["metric"]: self.cost["true"]} if self.cost else {}
        rows = [
            ("genotype", self.space.describe(self.genotype)),
            *measured({name: value for name, value in last.items() if name.startswith("search_")} | cost, [last]),
            ("folder", "not saved" if self.folder is None else str(self.folder)),
            ("next", f"result.module, or {train} from scratch" if own else train),
        ]
        title = f"Found by {self.settings.method_name} on {self.space.name} in {epochs(len(self.history))}"
        return Summary(title, rows, cells(self.genotype, self.space.groups))

    @property
    def groups(self) -> tuple[ChoiceGroup, ...]:
        """What was left of the space's groups in the end."""
        supernet: Any = self.supernet
        groups: tuple[ChoiceGroup, ...] = supernet.groups
        return groups

    @cached_property
    def module(self) -> nn.Module:
        """Your own module with the choices made, carrying the weights that the search trained; always the same object.

        Raises `Refused` for a space that is not a module of your own: use `poise.train` to build and train its network.
        """
        if not isinstance(self.supernet, ModuleSupernet):
            raise Refused(f"space {self.space.name!r} has no module of yours; poise.train builds its network")
        return with_choices_made(self.supernet.module, self.genotype)


def search(
    target: Any,
    data: Any = None,
    *,
    task: str | Task | None = None,
    space: str | Space | None = None,
    method: str | Method | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32",
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    auto_batch: bool = False,
    track: Sequence[str] = (),
    cost_target: CostTarget | None = None,
    listen: Listener | None = None,
    control: RunControl = RunControl(),
) -> SearchResult:
    """Search an architecture for some data: images, text, or whatever a module of your own takes.

    ``poise.search(data, space="darts", ...)`` searches a space of poise; ``poise.search(module, data, ...)`` searches
    the `poise.Choice` layers of a module of your own.

    Args:
        target: data (anything that `poise.open_source` takes), or an `nn.Module` with `Choice` layers.
        data: the data, where ``target`` is a module.
        task: what the network is for: a name of ``poise list tasks`` or a value of `poise.tasks`. None: as the data
            says, see `poise.workflow.inference`; where it does not, one class per input.
        space, method: names, or values.
        preset: ``demo``, ``small`` (default) or ``paper``.
        settings: dotted overrides, such as ``{"search.epochs": 10}``.
        seed: of everything random. On a CPU the same seed gives the same result to the last bit.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        precision: ``32``, ``tf32``, ``64``, ``bf16-mixed``.
        out: save the run in this folder.
        overwrite: replace the run that is there.
        resume: go on with the run that is there, started with the same arguments, or begin it if there is none. On a
            CPU the result is that of a run that was never stopped, to the last bit.
        auto_batch: take a smaller batch where the one that is set does not fit the memory that is free.
        track: names of ``poise list trackers``, which are told of the run; it has to be saved.
        cost_target: what the network that comes out should cost, see `poise.methods.aimed`.
        listen: is told every `poise.engine.events.Event`; None: a terminal or notebook shows them; or `poise.ignore`.
        control: how often the run is saved, and whether it was asked to stop.

    Raises:
        Refused: bad input, before anything is written.
        Stopped: ``control`` asked for it; the run is saved.
    """
    if isinstance(target, nn.Module):
        if space is not None or data is None:
            raise Refused("to search a module of your own, call poise.search(module, data); it is itself the space")
        space = ModuleSpace(target)
    elif data is not None:
        raise Refused(
            f"poise.search(data, ...) takes one data argument; two mean (module, data), got {type(target).__name__}"
        )
    else:
        data = target
    resolved = resolve(
        task=inferred(data) if task is None else task,
        space=space, method=method, preset=preset, overrides=list((settings or {}).items()), seed=seed, device=device,
        precision=precision, data=data, cost_target=cost_target,
    )  # fmt: skip
    check_trackers(track)
    with progress(listen) as hear, joined():
        folder = None if out is None else Path(out)
        context = RunContext(folder, overwrite, resume, auto_batch, hear, control, track=tuple(track))
        return run(resolved, context, data=data)


def run(settings: RunSettings, context: RunContext = RunContext(), *, data: Any = None) -> SearchResult:
    """Search as the settings say. ``data`` stands in for what the settings name."""
    processes = Processes.here()
    context = context.among(processes)
    if context.auto_batch:
        settings = _fitting_all_stages(settings, data, context.listen)
    prepared = processes.together(lambda: Preparation.of(settings, data, context.begun))
    searcher = processes.together(prepared.searcher)
    with context.opened("search", settings, lambda: prepared.material.fingerprint, prepared.tables.files()) as opened:
        output, context = opened
        hear = noting(output, "data", context.listen)
        for text in prepared.material.notes():
            hear(Noted(text))
        start = context.start(output)
        facts = start.get("facts", {})
        selecting = facts.get("stage") == "selection"
        folder = output.holding("config.yaml" if selecting else "genotype.json")
        finished = processes.same(folder is not None) and not selecting  # before
        if not finished and not selecting:
            found = _search_in(output, prepared, searcher, start, context)
            history, prepared, searcher = found.history, prepared.at(found.stage), found.searcher
            save_stage(output, prepared, found.stage)
            save_supernet(output, searcher)
        else:
            history = list(facts["history"]) if selecting else processes.led(lambda: _folder(folder).history())
            prepared, searcher = _trained_in(folder, prepared, searcher, history)
        if finished:
            genotype, decided, cost = processes.led(lambda: _concluded(_folder(folder)))
            if folder is not None and start is not NOWHERE:  # and killed before it was tidied up
                draw_run(folder, prepared.settings, prepared.space, prepared.groups)
        else:
            saver = Checkpointer(
                output.checkpoints, start if selecting else {"facts": {"history": history}}, context.control
            )
            genotype, decided, cost = conclude(
                output, prepared, searcher.alphas, partial(clone, searcher), history, context.listen, saver
            )
        context.finish(history, {"cost": cost or {}}, {"genotype": prepared.space.describe(genotype)})
        output.clear()
    alphas = {name: values.detach().cpu() for name, values in searcher.alphas.items()}
    supernet, space = locally(searcher.supernet), prepared.space
    return SearchResult(genotype, alphas, supernet, history, settings, space, output.path, decided, cost)


def _trained_in(
    folder: RunFolder | None, prepared: Preparation, searcher: Searcher, history: Sequence[Mapping[str, Any]]
) -> tuple[Preparation, Searcher]:
    """At the last stage of a search that has ended, with what it left in the first process's folder."""
    processes = prepared.place.processes
    stage = processes.led(lambda: at_the_end(_folder(folder), prepared).stage)
    last = prepared if stage == prepared.stage else prepared.at(stage)
    searcher = searcher if last is prepared else prepared.searcher(stage=stage)
    if folder is not None:
        folder.rewrite_history(history)
    processes.led(lambda: load_supernet(_folder(folder), searcher))
    if not processes.alone:
        searcher.restore(processes.same(searcher.state()))
    return last, searcher


def _folder(folder: RunFolder | None) -> RunFolder:
    assert folder is not None  # in the first process, which alone is asked
    return folder


def _concluded(folder: RunFolder) -> tuple[Genotype, Decidedness, dict[str, Any] | None]:
    """What a finished search found."""
    return folder.genotype(), load_decidedness(folder), load_cost(folder)


def conclude(
    output: Output, prepared: Preparation, alphas: Mapping[str, Tensor], searcher: Callable[[], Searcher],
    history: Sequence[Mapping[str, Any]], listen: Listener, saver: Checkpointer,
) -> tuple[Genotype, Decidedness, dict[str, Any] | None]:  # fmt: skip
    """Select a genotype, and write and say all that there is to it: how decided it is, what it costs, what is known of
    it, which networks are of another one now. The arguments are those of `choose`; ``history`` has the records of all
    epochs."""

    def page(folder: RunFolder, state: Status) -> Page:
        return search_page(folder, prepared.settings, prepared.space, prepared.groups, state)

    with LivePage(output, page):
        decisions: list[Decision] = []
        hear = noting(output, "selection", listen)
        genotype = choose(prepared, alphas, searcher, hear, saver, decisions.append)
    save_decisions(output, prepared.method.selection.kind, decisions)
    cost = report_cost(output, prepared, alphas, genotype, listen)
    save_size(output, prepared, genotype)
    decided = judge(prepared, history, alphas, genotype, listen)
    save_decidedness(output, decided)
    output.write(f"genotype-{prepared.method.selection.kind}.json", genotype.to_json())
    output.write("genotype.json", genotype.to_json())
    if found := known(genotype):  # ground truth, which nothing before this may see
        listen(Noted(found.text))
    if folder := output.holding("genotype.json"):
        note_trainings(folder, listen)
        draw_run(folder, prepared.settings, prepared.space, prepared.groups)
    return genotype, decided, cost


def _search_in(
    output: Output, prepared: Preparation, searcher: Searcher, start: State, context: RunContext
) -> Searched:
    """``searcher`` is the first stage's, at its beginning."""
    diagnose = all_of(prepared.settings.search.diagnostics)
    ready, reached = [searcher], [prepared.stage]

    def begin(stage: Stage) -> Searcher:
        reached.append(stage)
        return ready.pop() if ready and not stage.number else prepared.searcher(stage=stage)

    def explained(searcher: Searcher) -> AbstractContextManager[None]:
        return memory_explained(search_step(searcher))

    def work(saver: Checkpointer, rate: float, listen: Listener) -> Searched:
        epochs = prepared.settings.search.epochs
        return search_in_stages(begin, prepared.method, epochs, listen, saver, rate, diagnose, explained)

    def page(folder: RunFolder, state: Status) -> Page:
        stage = reached[-1]
        at = prepared.at(stage)
        return search_page(folder, prepared.settings, at.space, at.groups, state)

    with LivePage(output, page) as live:
        return context.with_rollbacks(work, output, "search", start, live.visit)


def _fitting_all_stages(settings: RunSettings, data: Any, listen: Listener) -> RunSettings:
    """The settings with a batch that fits every stage: the first has the most candidates, the last the most cells."""
    for searcher in rehearsal(Preparation.of(settings, data)):
        step = search_step(searcher)
        settings = fitting(settings, replace(step, batch_size=settings.search.batch_size), listen)
    return settings


def choose(
    prepared: Preparation,
    alphas: Mapping[str, Tensor],
    searcher: Any,
    listen: Listener,
    saver: Checkpointer | None = None,
    decided: Callable[[Decision], None] = lambda decision: None,
) -> Genotype:
    """Apply the method's selection rule; ``searcher`` opens a searcher that the rule may measure and tune, ``decided``
    hears of what is decided by measuring."""
    method, space = prepared.method, prepared.space
    trained = TrainedSupernet(
        space, prepared.groups, alphas, method.relaxation, searcher, prepared.settings.seed, listen,
        saver or Checkpointer(), prepared.aim, decided,
    )  # fmt: skip
    rule = method.selection
    if prepared.aim is not None and not aims(rule):
        listen(
            Noted(f"selection={rule.kind} knows no target, so the network may cost more or less than the target says")
        )
    genotype = genotype_of(space.name, rule(trained), prepared.groups)
    space.check(genotype)
    doubt = space.doubt(genotype) if isinstance(space, Doubting) else None
    if doubt:
        listen(Noted(doubt))
    return genotype


def clone(searcher: Searcher) -> Searcher:
    """A searcher on a copy of the supernet and the alphas, whose Adam goes on from where it was."""
    found = Searcher(
        copy.deepcopy(searcher.supernet), searcher.groups, searcher.method, searcher.settings, searcher.training,
        searcher.searching, searcher.place, searcher.seed, {k: v.detach() for k, v in searcher.alphas.items()},
        searcher.stage, searcher.objective, searcher.aim,
    )  # fmt: skip
    adam = optimizer_state(searcher.alpha_optimizer, searcher.alphas)
    restore_optimizer(found.alpha_optimizer, found.alphas, adam)
    return found
