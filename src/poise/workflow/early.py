"""What can be refused at once, before torch is imported. Nothing is decided here: the work asks the same again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poise.engine.run import RunFolder, read_genotype
from poise.errors import Refused
from poise.named import DEFAULT_SPACE, check_data, check_method, check_preset
from poise.registries import DIAGNOSTICS, EXPORTS, SELECTIONS, SPACES


def check_search(
    space: str | None, method: str | None, preset: str | None, file: Path | None, data: str | None
) -> None:
    """The names of a search, and its data. What a file leaves open is known once it is read."""
    if space is not None:
        SPACES.check(space)
    if method is not None:
        check_method(method)
    if preset is not None and (space is not None or file is None):
        check_preset(preset, DEFAULT_SPACE if space is None else space)
    _check_data(data)


def check_selection(run: Path, rule: str | None, data: str | None) -> None:
    """A run's folder, a rule, and data."""
    RunFolder.open(run, "search")
    if rule is not None:
        SELECTIONS.check(rule)
    _check_data(data)


def check_training(what: Path, preset: str | None, data: str | None) -> None:
    """A run's folder, or a genotype file, the preset of its space, and data."""
    if what.is_dir():
        RunFolder.open(what, "search")
    else:
        space = read_genotype(what).space
        if preset is not None and space in SPACES:
            check_preset(preset, space)
    _check_data(data)


def check_network(network: Path, data: str | None = None, to: str | None = None) -> None:
    """A trained network's folder, data, and an export format."""
    if to is not None:
        EXPORTS.check(to)
    RunFolder.open(network, "train")
    _check_data(data)


def check_diagnosis(run: Path, only: Sequence[str], data: str | None, batches: int) -> None:
    """A run's folder, diagnostics, data, and a number of batches."""
    for name in only:
        DIAGNOSTICS.check(name)
    check_batches(batches)
    RunFolder.open(run, "search")
    _check_data(data)


def check_batches(batches: int) -> None:
    """What a diagnosis measures on."""
    if batches < 1:
        raise Refused(f"diagnosing takes at least 1 batch, got {batches}")


def check_folder(run: Path) -> None:
    """The folder of a run or a bench."""
    if not run.is_dir():
        raise Refused(f"there is no run at {run}")


def _check_data(data: str | None) -> None:
    if data is not None:
        check_data(data)
