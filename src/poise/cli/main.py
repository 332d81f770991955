"""The command line: parse, call, print. Bad input is one line on stderr and exit code 2."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from poise.cli.bench import bench, run_and_show
from poise.cli.console import reporter, telling
from poise.cli.inspect import diagnose, doctor, list_, measure_latency, show
from poise.cli.launching import together, told
from poise.cli.networks import evaluate, export, predict, push, show_network, train
from poise.cli.options import (
    CHECKS,
    COST,
    HELP_NAMES,
    MACHINES,
    SETTINGS,
    AutoBatch,
    Cpus,
    Data,
    Device,
    Devices,
    Every,
    Jobs,
    Memory,
    On,
    OnNan,
    Out,
    Overwrite,
    Precision,
    Preset,
    Resume,
    Seed,
    Set,
    Task,
    Timeout,
    Track,
    examples,
    rollbacks,
    show_help_if_bare,
    tidied,
)
from poise.cli.said import opening_of, show_found, show_plan, show_selected
from poise.cli.seeds import Place, run_and_show_seeds, wait_for
from poise.cli.signals import STOPPED, asked_to_stop
from poise.cli.watch import watch
from poise.errors import Lost, Refused, Stopped, printable
from poise.named import TIMEOUT, started_together

SEARCH, NETWORKS, LOOK, COMPARE = "Search", "Networks", "Look", "Measure and compare"
"""Panels of commands in the help."""

app = typer.Typer(
    name="poise",
    context_settings=HELP_NAMES,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog=examples("poise search --preset demo", "poise train runs/digits-darts-poise-0"),
)


@app.callback(invoke_without_command=True)
def poise(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version, and stop.")] = False,
) -> None:
    """Differentiable neural architecture search that does not collapse."""
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"poise {version_of('poise')}")
        raise typer.Exit
    show_help_if_bare(context)


@app.command(
    rich_help_panel=SEARCH,
    epilog=examples(
        "poise search --preset demo",
        "poise search --data photos/ --space nasbench201",
        "poise search --data photos/ --target-macs 300M",
        "poise search --data photos/ --seeds 0-9 --on ray",
    ),
)
@telling
def search(
    data: Data = None,
    task: Task = None,
    space: Annotated[str | None, typer.Option(metavar="NAME", help="See: poise list spaces. Default: darts.")] = None,
    method: Annotated[str | None, typer.Option(metavar="NAME", help="See: poise list methods. Default: poise.")] = None,
    preset: Preset = None,
    out: Out = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", rich_help_panel=SETTINGS, help="A YAML file of settings.")
    ] = None,
    set_: Set = None,
    seed: Seed = None,
    device: Device = None,
    precision: Precision = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    checkpoint_every: Every = 300,
    on_nan: OnNan = "stop",
    auto_batch: AutoBatch = False,
    track: Track = None,
    devices: Devices = None,
    timeout: Timeout = TIMEOUT,
    target_macs: Annotated[
        str | None,
        typer.Option(metavar="COUNT", rich_help_panel=COST, help="Multiply-adds the network should have, as 300M."),
    ] = None,
    target_parameters: Annotated[
        str | None, typer.Option(metavar="COUNT", rich_help_panel=COST, help="Parameters it should have, as 4M.")
    ] = None,
    target_latency: Annotated[
        str | None, typer.Option(metavar="TIME", rich_help_panel=COST, help="Time an image should take, as 8ms.")
    ] = None,
    latency_table: Annotated[
        Path | None, typer.Option(metavar="FILE", rich_help_panel=COST, help="What poise measure-latency wrote.")
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBERS", rich_help_panel=MACHINES, help="Search once with each, such as 0-9 or 0,3, and compare."
        ),
    ] = None,
    on: On = "local",
    jobs: Jobs = None,
    cpus: Cpus = None,
    memory: Memory = None,
    patience: Annotated[
        float, typer.Option(hidden=True, help="Seconds to wait for a process that works in the folder.")
    ] = 0.0,
    print_config: Annotated[
        bool, typer.Option("--print-config", rich_help_panel=CHECKS, help="Show what would run, and stop.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", rich_help_panel=CHECKS, help="Measure a few steps, estimate time and memory, and stop."
        ),
    ] = False,
) -> None:
    """Search for an architecture, select a genotype, save the run."""
    from poise.config.reading import parse_override
    from poise.named import DEFAULT_METHOD, DEFAULT_SPACE, check_place, default_folder
    from poise.trackers.tracker import check_trackers
    from poise.workflow.context import RunContext
    from poise.workflow.early import check_search

    overrides = [parse_override(text) for text in set_ or []]
    check_place(device, precision)
    check_search(
        task=task, space=space, method=method, preset=preset, file=config, overrides=overrides,
        data=None if print_config else data,  # which may be prepared elsewhere
    )  # fmt: skip
    check_trackers(track or ())
    saved = not (print_config or dry_run)
    place = Place(on, jobs, cpus, memory)
    one = {"--seed": seed is not None, "--overwrite": overwrite, "--auto-batch": auto_batch, "--devices": devices}
    place.check(seeds, {name: bool(given) for name, given in one.items()})
    if patience and out is not None:
        wait_for(out, patience)
    free = saved and seeds is None and not started_together()  # where it is one of several, the first one looks
    if free and (out is not None or (config is None and data is None)):
        names = space or DEFAULT_SPACE, method or DEFAULT_METHOD, seed or 0
        RunContext(out or default_folder("digits", *names), overwrite, resume, auto_batch).settled()
    from poise.config.quantities import parse_target
    from poise.config.resolve import dump, resolve
    from poise.engine.checkpointer import RunControl
    from poise.workflow import plan
    from poise.workflow import search as work
    from poise.workflow.inference import inferred
    from poise.workflow.prepare import Preparation

    settings = resolve(
        task=task or (None if config else inferred(data)),
        space=space, method=method, preset=preset, file=config, overrides=overrides, data=data, seed=seed,
        device=device, precision=precision,
        cost_target=parse_target(target_macs, target_parameters, target_latency, latency_table),
    )  # fmt: skip
    if print_config:
        Preparation.of(settings)  # refuses what would not run
        typer.echo(dump(settings), nl=False)
        return
    if dry_run:
        show_plan(plan.dry_run(settings))
        return
    source, names = settings.data.source, (settings.space.name, settings.method_name, settings.seed)
    if seeds is not None:
        given = place.seeds(seeds, checkpoint_every=checkpoint_every, on_nan=on_nan, track=tuple(track or ()))
        run_and_show_seeds(given, settings, out or default_folder(source, *names[:2], "seeds"))
        return
    folder = out or default_folder(source, *names)
    opening = opening_of(settings, "" if config is None else str(config), preset, data, folder)
    with together(devices, timeout) as first, reporter(opening) as listen, asked_to_stop() as asked:
        control = RunControl(checkpoint_every, asked, rollbacks(on_nan))
        how = RunContext(folder, overwrite, resume, auto_batch, listen, control, track=tuple(track or ()))
        result = work.run(settings, how)
    if first:
        show_found(result)


@app.command(
    rich_help_panel=SEARCH,
    epilog=examples("poise select RUN --rule magnitude", "poise select RUN --set selection.tune_epochs=1"),
)
@telling
def select(
    run: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of a search.")],
    rule: Annotated[
        str | None, typer.Option(metavar="NAME", help="See: poise list selections. Default: the method's own.")
    ] = None,
    data: Data = None,
    set_: Set = None,
    device: Device = None,
    checkpoint_every: Every = 300,
) -> None:
    """Select a genotype from any saved supernet, whatever method trained it."""
    from poise.workflow.early import check_selection

    check_selection(run, rule, data)
    from poise.config.reading import parse_override
    from poise.engine.checkpointer import RunControl
    from poise.workflow.select import select as work

    overrides = dict(parse_override(text) for text in set_ or [])
    with reporter() as listen, asked_to_stop() as asked:
        control = RunControl(checkpoint_every, asked)
        found = work(run, rule, data=data, settings=overrides, device=device, listen=listen, control=control)
    show_selected(run, found)


@app.command(rich_help_panel=SEARCH, epilog=examples("poise resume RUN", "poise resume RUN --data moved/photos"))
@telling
def resume(
    run: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="The folder of a search, a selection or a training that was stopped, or of a bench."
        ),
    ],
    data: Data = None,
    checkpoint_every: Every = 300,
    on_nan: OnNan = "stop",
    track: Track = None,
    devices: Devices = None,
    timeout: Timeout = TIMEOUT,
) -> None:
    """Go on with a run that was stopped, as if nothing had happened."""
    from poise.workflow.early import check_folder

    check_folder(run)
    from poise.trackers.tracker import check_trackers

    check_trackers(track or ())
    from poise.bench.bench_folder import read_bench
    from poise.engine.checkpointer import RunControl
    from poise.named import BENCH_FILE, SEEDS_FILE
    from poise.workflow.resume import resume as work
    from poise.workflow.search import SearchResult
    from poise.workflow.select import Selected

    if (run / BENCH_FILE).is_file():
        run_and_show(read_bench(run), run)
        return
    if (run / SEEDS_FILE).is_file():
        from poise.jobs.seeds import read_seeds

        run_and_show_seeds(*read_seeds(run), run)
        return
    with together(devices, timeout) as first, reporter() as listen, asked_to_stop() as asked:
        control = RunControl(checkpoint_every, asked, rollbacks(on_nan))
        result = work(run, data=data, track=track or (), listen=listen, control=control)
    if not first:
        return
    if isinstance(result, SearchResult):
        show_found(result)
    elif isinstance(result, Selected):
        show_selected(run, result)
    else:
        show_network(run)


app.command(
    rich_help_panel=NETWORKS,
    epilog=examples(
        "poise train RUN", "poise train RUN --epochs 100 --out net", "poise train genotype.json --data photos/"
    ),
)(train)
app.command(
    rich_help_panel=NETWORKS, epilog=examples("poise evaluate RUN/net", "poise evaluate RUN/net --data other/photos")
)(evaluate)
app.command(
    rich_help_panel=NETWORKS,
    epilog=examples("poise predict RUN/net new/", "poise predict RUN/net new/*.jpg --out new.csv"),
)(predict)
app.command(
    rich_help_panel=NETWORKS,
    epilog=examples("poise export RUN/net --to onnx", "poise export RUN/net --to python --out m"),
)(export)
app.command(
    rich_help_panel=NETWORKS,
    epilog=examples("poise push RUN/net me/cells", "poise push RUN/net me/cells --license mit"),
)(push)
app.command(rich_help_panel=LOOK, epilog=examples("poise show RUN", "poise show RUN/net"))(show)
app.command(rich_help_panel=LOOK, epilog=examples("poise watch runs", "poise watch runs --port 0"))(watch)
app.command(
    rich_help_panel=LOOK, epilog=examples("poise diagnose RUN", "poise diagnose RUN --only eigenvalue,landscape")
)(diagnose)
app.command("list", rich_help_panel=LOOK, epilog=examples("poise list methods", "poise list methods --long"))(list_)
app.command(rich_help_panel=LOOK, epilog=examples("poise doctor"))(doctor)
app.command(
    rich_help_panel=COMPARE,
    epilog=examples(
        "poise measure-latency --space mobile --size 224",
        "poise search --target-latency 8ms \\",
        "  --latency-table latency.json",
    ),
)(measure_latency)
app.add_typer(bench, name="bench", rich_help_panel=COMPARE)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: runs the command line and exits."""
    from poise.engine.kept_memory import keep_freed_memory

    warnings.filterwarnings("ignore", module="lightning_fabric")
    keep_freed_memory()
    try:
        command = tidied(typer.main.get_command(app))
        code = command(list(arguments) if arguments is not None else None, prog_name="poise", standalone_mode=False)
    except Refused as error:
        code = told(error, STOPPED if isinstance(error, Lost) else 2)
    except Stopped as stopped:
        code = told(stopped, STOPPED)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        # Usage errors of the parser; it may carry its own copy of click, so they are known by what they can do.
        if hasattr(error, "format_message"):
            _fail(str(error.format_message()), 2)
        from poise.workflow.memory import out_of_memory

        if not out_of_memory(error):
            raise
        _fail("out of memory; use a smaller batch, fewer channels or cells, or smaller images", 2)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    print(f"poise: {printable(message)}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
