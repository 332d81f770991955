"""Retrain a found architecture from scratch, evaluate it, load it again, export it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from poise.config.resolve import override, resolve
from poise.config.settings import RunSettings
from poise.data import source_name
from poise.data.batched import Batched
from poise.engine.checkpointer import Checkpointer, RunControl
from poise.engine.device import Place
from poise.engine.events import Listener, Noted
from poise.engine.joining import joined
from poise.engine.run import RunFolder, read_genotype
from poise.engine.streams import seed_of, seeded
from poise.engine.unsaved import Output
from poise.errors import Refused
from poise.export.exports import EXPORTS
from poise.genotype import Genotype
from poise.named import FROM_PYTHON
from poise.report.page import Page, Status
from poise.report.progress import progress
from poise.spaces.forms import check_form, network_of
from poise.spaces.space import SPACES, Shape, Space, channels_last
from poise.supernet.processes import Processes
from poise.tasks.task import Supply, Task, Trained, check_task
from poise.trackers.tracker import check_trackers
from poise.workflow.batch_statistics import check_batch
from poise.workflow.checking import check_own
from poise.workflow.context import RunContext
from poise.workflow.costing import network_macs
from poise.workflow.hub import on_hub
from poise.workflow.inference import inferred
from poise.workflow.live import LivePage
from poise.workflow.memory import fitting, memory_explained
from poise.workflow.network import USED_FILES, network_in, save_network
from poise.workflow.networks_inside import superseded
from poise.workflow.saved import check_unused, is_own, own_space, settings_of, with_own
from poise.workflow.search import SearchResult
from poise.workflow.show import renew_page
from poise.workflow.training_page import training_page


def train(
    what: Any,
    data: Any = None,
    *,
    task: str | Task | None = None,
    space: Space | None = None,
    module: nn.Module | None = None,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    auto_batch: bool = False,
    track: Sequence[str] = (),
    listen: Listener | None = None,
    control: RunControl = RunControl(),
) -> Trained:
    """Retrain an architecture from scratch on the whole training split, and measure it once on the test split.

    Args:
        what: a `SearchResult`, a run's folder, a `Genotype`, or a genotype file in any notation.
        data: the data; by default that of the run.
        task: for a genotype, what the network is for, as in `poise.search`; a run has its own, but for a task of your
            own, which is passed again.
        space: the genotype's space, if it is not a registered one.
        module: for the folder of a run, or a genotype, of a module of your own: that module, as it was given to
            `poise.search`. Training starts from its weights.
        preset, settings, seed, device, precision: as in `poise.search`; a run's own are the default.
        out: save the network in this folder.
        overwrite: replace the run that is there.
        resume: go on with the run that is there, or begin it if there is none.
        auto_batch: take a smaller batch where the one that is set does not fit the memory that is free.
        track, listen: as in `poise.search`.
        control: how often the run is saved, and whether it was asked to stop.
    """
    check_trackers(track)
    overrides = list((settings or {}).items())
    given = {"seed": seed, "device": device, "precision": precision}
    changes = [*((name, value) for name, value in given.items() if value is not None), *overrides]
    if isinstance(what, SearchResult):
        check_unused(module, "the result of a search has its own", task)
        genotype, base = what.genotype, override(what.settings, changes)
    elif module is not None and space is not None:
        raise Refused("give the module or the space, not both: a module of your own is itself the space")
    elif isinstance(what, (str, Path)) and Path(what).is_dir():
        folder = RunFolder.open(Path(what), "search")
        if preset is not None:
            raise Refused(
                "a run has its settings already; use a genotype file to choose a preset, or settings to change some"
            )
        base = settings_of(folder, changes)
        genotype, base = folder.genotype(), with_own(folder, base, module, task, "train")
    else:
        genotype = what if isinstance(what, Genotype) else read_genotype(Path(what))
        if module is not None:
            space = own_space(Path("the genotype"), module, "train")
        base = resolve(
            task=inferred(data) if task is None else task, space=space or SPACES[genotype.space](), preset=preset,
            overrides=overrides, seed=seed, device=device, precision=precision,
        )  # fmt: skip
    if data is not None:
        base = override(base, [("data.source", source_name(data))])
    with progress(listen) as hear, joined():
        saved = None if out is None else Path(out)
        context = RunContext(saved, overwrite, resume, auto_batch, hear, control, track=tuple(track))
        return train_as(genotype, base, data, context)


def train_as(genotype: Genotype, base: RunSettings, data: Any = None, context: RunContext = RunContext()) -> Trained:
    """`train` with its settings complete; ``data`` where it is not, or no longer, what these say."""
    processes = Processes.here()
    context = context.among(processes)
    if data is None:
        if base.data.source == FROM_PYTHON:
            raise Refused("the search had its data from Python; pass it again: poise.train(result, data)")
        data = base.data.source
    space: Space = base.space
    task: Task = base.task
    form = base.train
    check_task(base)
    place = Place.open(base.device, base.precision, channels_last(space))
    space.check(genotype)
    check_form(space, form.form)

    def fresh(shape: Shape) -> nn.Module:
        return network_of(
            space, genotype, shape, form=form.form, channels=form.channels, cells=form.cells,
            auxiliary=form.auxiliary > 0,
        )  # fmt: skip

    check_batch(form.batch_size, "train.batch_size", task.example, fresh)
    supply = processes.together(lambda: task.supply(base, data, place, context.listen))
    batches = supply.batches(form.batch_size)
    with seeded(seed_of(base.seed, "network"), place.device):
        network = fresh(supply.shape)
    check_own(space, network, batches, supply.shape, place, supply.objective)
    macs = network_macs(space, genotype, supply.shape, base)
    if context.auto_batch:
        base = fitting(base, supply.step(network, base, batches), context.listen)
        batches = supply.batches(base.train.batch_size)
    trained: Any = supply.trained(network, genotype, base, context.out)
    with context.opened("train", base, supply.fingerprint, {"genotype.json": genotype.to_json()}) as opened:
        output, context = opened
        folder, described = output.holding("result.json"), {"genotype": space.describe(genotype)}

        def page(folder: RunFolder, state: Status) -> Page:
            return training_page(folder, base, space, state)

        live = LivePage(output, page)
        if processes.same(folder is not None):
            done = _finished(folder, trained, task, space, processes)
            live.write("finished")  # which it may not have come to
            context.finish(done.history, done.result, described, USED_FILES)
            return done
        with live:
            history = _train(network, base, supply, batches, output, context, live.visit)
            save_network(output, trained, base, supply)  # before anything else can go wrong
            result = {"parameters": trained.parameters, **macs, **supply.measured(network, base)}
        output.write("result.json", json.dumps(result, indent=2))
        live.write("finished")
        output.clear()
        context.finish(history, result, described, USED_FILES)
    if context.out is not None:
        renew_page(RunFolder(context.out))
    found: Trained = replace(trained, history=history, result=result)
    return found


def _finished(folder: RunFolder | None, trained: Any, task: Task, space: Space, processes: Processes) -> Trained:
    """What was finished before, in the first process's ``folder``, and perhaps killed after that."""
    found: Any = None if folder is None else task.load(folder, space)
    if folder is not None:
        folder.clear()
    if not processes.alone:
        facts: Any = (found.history, found.result, found.network.state_dict()) if found else None
        history, result, state = processes.same(facts)
        trained.network.load_state_dict(state)
        found = found or replace(trained, history=history, result=result)
    done: Trained = found
    return done


def _train(
    network: nn.Module, base: RunSettings, supply: Supply, batches: Batched, output: Output, context: RunContext,
    live: Callable[[], None],
) -> list[dict[str, Any]]:  # fmt: skip
    go_back = context.going_back(network)

    def work(saver: Checkpointer, rate: float, listen: Listener) -> list[dict[str, Any]]:
        go_back(saver.start)
        return supply.train(network, base, batches, listen, saver, rate)

    with memory_explained(supply.step(network, base, batches)):
        return context.with_rollbacks(work, output, "train", context.start(output), live)


def source_of(run: str | Path) -> str:
    """The data that a saved network was trained on. Raises `Refused` if it came from Python, or is not here."""
    if on_hub(run):
        raise Refused(f"{run} was trained elsewhere; say where data is with --data")
    folder = RunFolder.open(Path(run), "train")
    settings = settings_of(folder)
    if is_own(settings):
        own_space(folder.path, None, "evaluate")
    if settings.data.source == FROM_PYTHON:
        raise Refused(f"{run} was trained on data from Python; say where data is with --data")
    return settings.data.source


def evaluate(
    what: Any,
    data: Any,
    *,
    module: nn.Module | None = None,
    task: Task | None = None,
    device: str = "auto",
    precision: str = "32",
    batch_size: int = 256,
    skip_bad_images: bool | None = None,
    listen: Listener | None = None,
) -> dict[str, float]:
    """All metrics of its task and the mean ``loss`` of a trained network on the test split.

    Args:
        what: a trained network, or the folder of one.
        data: data with a test split.
        module, task: for a folder, if the network is of a module or for a task of your own: see `load_network`.
        skip_bad_images: leave out images that cannot be read; None: as it was when a network in a folder was trained.
        listen: as in `poise.search`; gets a note of what was left out.
    """
    trained = network_in(what, module, task, "evaluate")
    if skip_bad_images is None:
        skip_bad_images = trained.folder is not None and settings_of(RunFolder(trained.folder)).data.skip_bad_images
    with progress(listen) as hear:
        if trained.folder is not None and (text := superseded(RunFolder(trained.folder))):
            hear(Noted(text))
        return trained.evaluate(data, device, precision, batch_size, skip_bad_images, hear)


def export(
    what: Any,
    to: str,
    path: str | Path | None = None,
    *,
    module: nn.Module | None = None,
    task: Task | None = None,
) -> list[Path]:
    """Write a trained network as ``onnx``, ``python`` or ``safetensors``; returns the files written.

    The exported network takes images as `TrainedNetwork.complete` does and normalises them itself. What its input is,
    every file says: unit and range of the values, order of the channels, size, mean, standard deviation, class names.

    Args:
        what: a `TrainedNetwork`, or the folder of one.
        to: the format.
        path: the file's name, its ending aside, or a folder, in which it is ``model``; by default the network's.
        module, task: for a folder, if the network is of a module or for a task of your own: see `load_network`.
    """
    write = EXPORTS[to]
    trained = network_in(what, module, task, "export")
    if path is None and trained.folder is None:
        raise Refused("this network was not saved in a folder; say where to export it to")
    target = Path(path if path is not None else str(trained.folder))
    if target.is_dir():
        target /= "model"
    with torch.no_grad():
        return trained.export(write, target)
