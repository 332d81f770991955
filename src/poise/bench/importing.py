"""Turn the official files of NAS-Bench-201 and of NATS-Bench's topology space into poise's compact CSV, once.

Nothing in a file is executed: it is read as data, see `restricted`, in a process of its own, so that a file that makes
the reader crash or ask for too much memory is refused like any other.

The layout, from the benchmarks' public code: a dict of ``meta_archs`` (architecture strings) and ``arch2infos``
(index -> budget -> results). A budget is "200" or "12" epochs in NATS-Bench, "full" or "less" in NAS-Bench-201. Results
have ``all_results``, (data set, seed) -> trial; a trial has ``epochs``, ``params``, ``flop`` and ``eval_acc1es``,
"split@epoch" -> accuracy in %. NATS-Bench's "simple" folder holds ``meta.pickle.pbz2`` and one file for each index.

Honestly: this was tested on small files written in this layout, and tried on the three architectures that the
NATS-Bench repository carries for its own tests, whose numbers agree with the shared table. It was never run on a whole
benchmark file. Those are several GB; as one pickle they take tens of GB of memory here as they do with the official
code. The "simple" folder is read one architecture at a time and needs little: prefer it.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from poise.bench.limited import limited, opened
from poise.bench.restricted import read_pickle
from poise.bench.table import Table, open_table
from poise.engine.checkpoint import write_durably
from poise.errors import Refused, shown

MOST_WHOLE = 2**34
"""Bytes of a file of everything, once unpacked: 16 GiB."""
MOST_SINGLE = 2**24
"""Bytes of a file of one architecture or of the names of all, once unpacked: 16 MiB."""
MOST_ARCHITECTURES = 15_625
MAGIC = 0x1950A86A20F9469CFC6C
"""The number that torch's files of before 2020 begin with."""


@dataclass(frozen=True)
class Measure:
    """A column: last accuracy after ``epochs``, of a network trained on ``data``, on ``split``; mean over seeds."""

    name: str
    epochs: int
    data: str
    split: str


MEASURES = (
    Measure("c10_test_200", 200, "cifar10", "ori-test"),
    Measure("c100_test_200", 200, "cifar100", "x-test"),
    Measure("in16_test_200", 200, "ImageNet16-120", "x-test"),
    Measure("c10_val_200_mean_nb201", 200, "cifar10-valid", "x-valid"),
    Measure("c100_val_200_mean", 200, "cifar100", "x-valid"),
    Measure("in16_val_200_mean", 200, "ImageNet16-120", "x-valid"),
    Measure("c10_test_200_trainsplit", 200, "cifar10-valid", "ori-test"),
    Measure("c10_test_12", 12, "cifar10", "ori-test"),
    Measure("c10_val_12", 12, "cifar10-valid", "x-valid"),
    Measure("c100_test_12", 12, "cifar100", "x-test"),
    Measure("c100_val_12", 12, "cifar100", "x-valid"),
    Measure("in16_test_12", 12, "ImageNet16-120", "x-test"),
    Measure("in16_val_12", 12, "ImageNet16-120", "x-valid"),
)
BUDGETS = {200: ("200", "full"), 12: ("12", "less")}
COSTS = {"c10_params_M": "params", "c10_flops_M": "flop"}
HEADER = ("index", "arch", *(measure.name for measure in MEASURES), *COSTS)
TRUSTED_SEED = 888
"""Parameters and operations differ between seeds in some early entries; this seed's are the right ones."""


def import_nasbench201(source: str | Path, target: str | Path) -> Table:
    """Convert an official benchmark file to the compact CSV, and open it.

    Args:
        source: ``NAS-Bench-201-v1_*.pth``, ``NATS-tss-v1_0-*.pickle.pbz2`` or the folder ``NATS-tss-v1_0-*-simple``.
        target: the CSV to write, gzipped if its name ends with ``.gz``. It must not exist yet.

    What is absent in the source is an empty cell; an architecture without results is left out. Raises `Refused` if the
    source is missing, too large, damaged, of another layout or asks for anything that is not data.
    """
    source, target = Path(source).absolute(), Path(target).absolute()
    if target.exists():
        raise Refused(f"{target} exists already")
    if not target.parent.is_dir():
        raise Refused(f"no such folder: {target.parent}")
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "poise.bench.importing", str(source), str(target)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )
    if done.returncode == 2:
        raise Refused(done.stderr.strip().rpartition("\n")[2])
    if done.returncode:
        raise Refused(f"{source} made its reader stop (exit code {done.returncode}): {done.stderr.strip()[-200:]}")
    return open_table(target)


def convert(source: Path, target: Path) -> None:
    """The conversion itself, in this process."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    empty = True
    for index, architecture, budgets in _architectures(source):
        cells = _cells(architecture, budgets, f"{source.name}, architecture {index}")
        if cells is not None:
            writer.writerow((index, architecture, *cells))
            empty = False
    if empty:
        raise Refused(f"{source} holds no results of any architecture")
    content = text.getvalue().encode()
    write_durably(target, gzip.compress(content, mtime=0) if target.suffix == ".gz" else content)


def _architectures(source: Path) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Index, string and results by budget, of all architectures that the source has results of."""
    if source.is_dir():
        with opened(source / "meta.pickle.pbz2", MOST_SINGLE) as stream:
            names = _names(read_pickle(stream, "meta.pickle.pbz2"))
        for index, name in enumerate(names):
            path = source / f"{index:06d}.pickle.pbz2"
            if path.exists():
                with opened(path, MOST_SINGLE) as stream:
                    yield index, name, _dict(read_pickle(stream, path.name), path.name)
        return
    whole = _dict(_whole(source), source.name)
    infos = _dict(whole.get("arch2infos"), "arch2infos")
    for index, name in enumerate(_names(whole)):
        if index in infos:
            yield index, name, _dict(infos[index], f"arch2infos[{index}]")


def _whole(source: Path) -> Any:
    """The value of a pickle, or of a file of torch's, of either format."""
    with opened(source, MOST_WHOLE) as stream:
        start = stream.peek(4)[:4]
        if start != b"PK\x03\x04":
            value = read_pickle(stream, source.name)
            if value == MAGIC:  # then follow a version, facts of the machine, the value, storages
                for _ in range(3):
                    value = read_pickle(stream, source.name)
            return value
    try:
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            if len(names) != 1:
                raise Refused(f"{source} is no file of torch's: it has {len(names)} members */data.pkl, expected one")
            with archive.open(names[0]) as member:
                return read_pickle(limited(member, MOST_WHOLE, str(source)), source.name)
    except (OSError, zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise Refused(f"cannot read {source}: {error}") from None


def _names(value: Any) -> list[str]:
    """``meta_archs``, checked by whoever opens the table; here only that they are texts, and not too many."""
    names = _dict(value, "the benchmark").get("meta_archs")
    if not isinstance(names, list) or len(names) > MOST_ARCHITECTURES:
        raise Refused(f"meta_archs must be a list of at most {MOST_ARCHITECTURES:,} texts, got {shown(names)}")
    for name in names:
        if type(name) is not str or len(name) > 200:
            raise Refused(f"meta_archs must hold architecture strings, got {shown(name)}")
    return names


def _dict(value: Any, what: str) -> Mapping[Any, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{what} must be a dict, got {shown(value)}")
    return value


def _cells(architecture: str, budgets: Mapping[str, Any], what: str) -> list[str] | None:
    """The row's numbers as text; None if there is none."""
    trials = {epochs: _trials(budgets, epochs, architecture, what) for epochs in BUDGETS}
    cells = [
        _mean([_accuracy(trial, m, what) for trial in trials[m.epochs].get(m.data, {}).values()]) for m in MEASURES
    ]
    cells += [
        _cost({**trials[12].get("cifar10", {}), **trials[200].get("cifar10", {})}, key, what) for key in COSTS.values()
    ]
    return ["" if cell is None else repr(cell) for cell in cells] if any(cell is not None for cell in cells) else None


def _trials(
    budgets: Mapping[str, Any], epochs: int, architecture: str, what: str
) -> dict[str, dict[int, Mapping[Any, Any]]]:
    """Data set -> seed -> trial."""
    found: dict[str, dict[int, Mapping[Any, Any]]] = {}
    for budget in BUDGETS[epochs]:
        if budgets.get(budget) is None:
            continue
        results = _dict(budgets[budget], f"{what}, {budget}")
        if results.get("arch_str") != architecture:
            raise Refused(f"{what}: meta_archs says {architecture}, the results {shown(results.get('arch_str'), 120)}")
        for key, trial in _dict(results.get("all_results"), f"{what}, all_results").items():
            if not isinstance(key, tuple) or len(key) != 2 or type(key[0]) is not str or type(key[1]) is not int:
                raise Refused(f"{what}: a result is named (data set, seed), got {shown(key)}")
            found.setdefault(key[0], {})[key[1]] = _dict(trial, f"{what}, {key}")
    return found


def _number(value: Any, what: str) -> float:
    if type(value) not in (int, float):
        raise Refused(f"{what} must be a number, got {shown(value)}")
    return float(value)


def _accuracy(trial: Mapping[Any, Any], measure: Measure, what: str) -> float | None:
    if trial.get("epochs") != measure.epochs:
        raise Refused(f"{what}: a trial has {shown(trial.get('epochs'))} epochs, expected {measure.epochs}")
    accuracies = _dict(trial.get("eval_acc1es"), f"{what}, eval_acc1es")
    key = f"{measure.split}@{measure.epochs - 1}"
    return _number(accuracies[key], f"{what}, {key}") if key in accuracies else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _cost(trials: Mapping[int, Mapping[Any, Any]], key: str, what: str) -> float | None:
    costs = {seed: _number(trial.get(key), f"{what}, {key}") for seed, trial in trials.items()}
    if len({f"{cost:.5f}" for cost in costs.values()}) > 1 and TRUSTED_SEED in costs:
        return costs[TRUSTED_SEED]
    return fmean(costs.values()) if costs else None


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except Refused as refused:
        print(refused, file=sys.stderr)
        raise SystemExit(2) from None
