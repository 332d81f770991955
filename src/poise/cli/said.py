"""What the commands that search say: before they begin, and of what they found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poise.cli.console import console, say, say_files, show_table


def opening_of(settings: Any, config: str, preset: str | None, data: str | None, folder: Path) -> str:
    """What a search is about to do, in a line."""
    from poise.named import DEFAULT_PRESET

    given = data is not None or config or settings.data.source != "digits"
    source = settings.data.source if given else "digits (there is no --data)"
    how = f"settings of {config}" if config else f"preset {preset or DEFAULT_PRESET}"
    epochs = settings.search.epochs
    return (
        f"searching {settings.space.name} with {settings.method_name} on {source}, {how}: "
        f"{epochs} epoch{'s' if epochs > 1 else ''}; saved in {folder}"
    )


def show_found(result: Any) -> None:
    """What a search found, and where it lies."""
    from poise.engine.run import RunFolder
    from poise.workflow.show import run_tables

    folder = RunFolder(result.folder)
    show_table(run_tables(folder, result.space, every=console.full, again=console.full))
    say_files(folder)
    say(f"saved in {folder.path}; next: poise train {folder.path}")


def show_selected(run: Path, found: Any) -> None:
    """What a selection took."""
    from poise.engine.run import RunFolder
    from poise.workflow.show import run_tables

    space = found.settings.space
    show_table(run_tables(RunFolder(run), space, every=console.full, again=console.full))
    say(f"wrote {' and '.join(str(file) for file in found.files)}; next: poise train {run}")


def show_plan(plan: Any) -> None:
    """What a search would take."""
    from poise.report.readable_numbers import duration
    from poise.report.tables import result_table

    rows = [
        ("steps", f"{plan.steps:,}"),
        (plan.unit, f"{plan.training_images:,} to train, {plan.search_images:,} to search"),
        ("weights", f"{plan.parameters:,} parameters"),
        ("alphas", f"{plan.alphas:,}"),
        ("time", f"about {duration(plan.seconds)} ({plan.seconds_per_step:.2f} s per step, measured)"),
        ("memory", f"about {plan.memory_bytes / 2**30:.2f} GiB at most, measured"),
    ]
    show_table(result_table(rows))
