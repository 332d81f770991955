"""What can be refused at once, before torch is imported. Nothing is decided here: the work asks the same again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from poise.config.reading import leaves, read_yaml
from poise.engine.run import RunFolder, read_genotype
from poise.errors import Refused, unknown
from poise.extras import check_extra
from poise.image_files import check_image_files
from poise.named import BENCH_FILE, DEFAULT_SPACE, LARGEST_SIZE, SEEDS_FILE, check_data, check_method, check_preset
from poise.registries import DIAGNOSTICS, EXPORTS, SELECTIONS, SPACES, TASKS
from poise.workflow.hub import EXTRA, check_licence, check_reference, check_repository, on_hub

ENDINGS = (".csv", ".json", ".jsonl")
"""Of files that predictions are written to."""


def check_search(
    *,
    task: str | None = None,
    space: str | None = None,
    method: str | None = None,
    preset: str | None = None,
    file: Path | None = None,
    data: str | None = None,
    overrides: Sequence[tuple[str, Any]] = (),
) -> None:
    """The names of a search, in a file of settings too, its data, and its settings as far as they are neither the
    space's nor a slot's own."""
    layer = {} if file is None else read_yaml(file)
    task, space, method = (
        given or _named(layer, section) for section, given in (("task", task), ("space", space), ("method", method))
    )
    for check, name in ((TASKS.check, task), (SPACES.check, space), (check_method, method)):
        if name is not None:
            check(name)
    preset = preset if preset is not None else layer.get("preset")
    if preset is not None:
        check_preset(preset, DEFAULT_SPACE if space is None else space)
    sections = {name: value for name, value in layer.items() if name not in ("task", "space", "method", "preset")}
    settings = [*leaves(sections), *overrides]
    if settings:
        from poise.config.settings import check_setting

        for name, value in settings:
            check_setting(name, value)
    check_data(data)


def _named(layer: Mapping[str, Any], section: str) -> str | None:
    value = layer.get(section)
    name = value.get("name") if isinstance(value, dict) else value
    return name if isinstance(name, str) else None


def check_selection(run: Path, rule: str | None, data: str | None) -> None:
    """A run's folder, a rule, and data."""
    RunFolder.open(run, "search")
    if rule is not None:
        SELECTIONS.check(rule)
    check_data(data)


def check_training(what: Path, preset: str | None, data: str | None, task: str | None = None) -> None:
    """A run's folder, or a genotype file, the preset of its space, data, and a task."""
    if task is not None:
        TASKS.check(task)
    if what.is_dir():
        RunFolder.open(what, "search")
    else:
        space = read_genotype(what).space
        if preset is not None and space in SPACES:
            check_preset(preset, space)
    check_data(data)


def check_network(network: Path, data: str | None = None, to: str | None = None) -> None:
    """A trained network's folder, data, and an export format."""
    if to is not None:
        EXPORTS.check(to)
        check_extra(to, f"an export to {to}")
    _check_trained(network)
    check_data(data)


def _check_trained(network: Path) -> None:
    """The folder of a trained network, or the name of one on the Hub, which is not asked yet."""
    if on_hub(network):
        check_reference(network)
    else:
        RunFolder.open(network, "train")


def check_pushed(network: str | Path, repository: str, licence: str | None) -> None:
    """A trained network's folder, where on the Hub it is to go, and the Hub's name of a licence."""
    check_repository(repository)
    check_extra(EXTRA, "the Hub")
    if licence is not None:
        check_licence(licence)
    RunFolder.open(Path(network), "train")


def check_prediction(
    network: Path, files: Sequence[str], out: Path | None = None, overwrite: bool = False, batch_size: int = 1
) -> None:
    """A trained network's folder or file, images, what is to be written, and a batch size."""
    if network.suffix == ".onnx" and not network.is_dir():
        if not network.is_file():
            raise Refused(f"no such file: {network}")
        check_extra("predict", f"predicting with {network.name}")
    else:
        _check_trained(network)
    if not 1 <= batch_size <= LARGEST_SIZE:
        raise Refused(f"batch size is {batch_size}, expected 1 to {LARGEST_SIZE}")
    check_image_files(files)
    if out is not None:
        check_out(out, overwrite)


def check_out(out: Path, overwrite: bool) -> None:
    """Where predictions are to be written: a file of a known kind, or a folder; what is there is only replaced with
    ``overwrite``."""
    if out.suffix not in ("", *ENDINGS):
        raise unknown("ending of --out", out.suffix, ENDINGS)
    if out.is_dir() if out.suffix else out.is_file():
        raise Refused(f"cannot write {out}: it is a {'folder' if out.suffix else 'file'}")
    there = out.exists() if out.suffix else out.is_dir() and any(out.iterdir())
    if there and not overwrite:
        what = "exists; choose another file" if out.suffix else "holds files already; choose another folder"
        raise Refused(f"{out} {what}, or pass --overwrite")


def check_diagnosis(run: Path, only: Sequence[str], data: str | None, batches: int) -> None:
    """A run's folder, diagnostics, data, and a number of batches."""
    for name in only:
        DIAGNOSTICS.check(name)
    check_batches(batches)
    RunFolder.open(run, "search")
    check_data(data)


def check_batches(batches: int) -> None:
    """What a diagnosis measures on."""
    if batches < 1:
        raise Refused(f"diagnosing takes at least 1 batch, got {batches}")


def check_bench(folder: Path) -> None:
    """The folder of a bench."""
    if not (folder / BENCH_FILE).is_file():
        raise Refused(f"there is no bench at {folder}")


def check_folder(run: Path) -> None:
    """The folder of a run, a bench, or a search with many seeds."""
    if RunFolder.kind_of(run) is None and not any((run / name).is_file() for name in (BENCH_FILE, SEEDS_FILE)):
        raise Refused(f"there is no run at {run}")
