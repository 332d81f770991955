"""What a person asks for by name, checked before torch is imported; the work itself asks the same functions again."""

from __future__ import annotations

import os
import re
from pathlib import Path

from poise.errors import Refused, unknown
from poise.extras import check_extra
from poise.registries import CONTESTANTS, METHODS, SOURCES, SPACES

PRESETS = ("demo", "small", "paper")
DEFAULT_PRESET = "small"
DEFAULT_SPACE = "darts"
DEFAULT_TASK = "classification"
DEFAULT_METHOD = "poise"
CUSTOM = "custom"
"""The name of a method whose slots are all that is said of it."""
FROM_PYTHON = "python"
"""In a configuration: the data was an object in Python, which no configuration can bring back."""
SEARCH = "search"
"""The contestant that stands for every method."""
OWN = "own"
"""In a bench: the method's own rule."""
BENCH_FILE = "bench.json"
"""What the folder of a bench holds."""
SEEDS_FILE = "seeds.json"
"""What the folder of a search with many seeds holds."""
PARENT = "POISE_PARENT"
"""In the environment of a process that another one of poise started: the id of that one, without which it ends."""
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("32", "tf32", "64", "bf16-mixed")
LARGEST_SIZE = 65_536
"""The most channels, cells, images of a batch, and pixels of an image's side: far more than any machine has room for,
and few enough that no product of them overflows."""
LARGEST_COUNT = 10**9
"""The most epochs, and images of a half."""
TIMEOUT = 600.0
"""Seconds that processes that compute together wait for each other."""


def default_folder(data: str, space: str, method: str, seed: int | str) -> Path:
    """Where a search is saved if nobody says where."""
    return Path("runs") / f"{Path(data).stem}-{space}-{method}-{seed}"


def check_method(name: str) -> None:
    """Raise `Refused` unless a search can be asked for by this method's name."""
    if name != CUSTOM:
        METHODS.check(name)


def check_contestant(label: str) -> None:
    """Raise `Refused` unless the name before a colon is a contestant's or a method's."""
    name = label.partition(":")[0]
    known = {*METHODS, *CONTESTANTS} - {SEARCH}
    if name not in known:
        raise unknown("method", name, known)


def check_preset(preset: object, space: str) -> None:
    """Raise `Refused` unless the space, and the preset of it, exist."""
    presets = SPACES.value(space, "presets")
    if preset not in list(presets):  # what a file says need not be a text, nor hashable
        raise unknown("preset", preset, presets)


def check_place(device: str | None, precision: str | None) -> None:
    """Raise `Refused` for a device or a precision of another name; None stands for the default."""
    if device not in (None, *DEVICES):
        raise unknown("device", device, DEVICES)
    if precision not in (None, *PRECISIONS):
        raise unknown("precision", precision, PRECISIONS)


def check_data(spec: str | None) -> None:
    """Raise `Refused` where no data can be meant: nothing is there, and no source's form begins as the text does; or
    where what is meant needs an extra that is not installed. None stands for what is known elsewhere."""
    if spec is None:
        return
    forms = {name: SOURCES.value(name, "form") for name in SOURCES}
    path = path_of(spec)
    try:
        there = path is not None and path.exists()
    except (OSError, ValueError):  # no file can have that name
        return
    if there:
        return
    begun = {name: re.match(r"[\w-]+", form) for name, form in forms.items()}
    meant = [name for name, found in begun.items() if found and spec.startswith(found[0])]
    if not meant:
        raise no_data(spec, list(forms.values()))
    for name in meant:
        check_extra(name, spec)


def no_data(spec: object, forms: list[str]) -> Refused:
    """The refusal of what is no data; ``forms`` are those that exist."""
    path = path_of(spec)
    if path is None:
        return Refused(f"cannot read data from {type(spec).__name__} {spec!r:.60}, expected one of: {'; '.join(forms)}")
    if path.exists():
        return Refused(f"{path} is a file of unknown kind {path.suffix!r}, expected one of: {'; '.join(forms)}")
    if len(path.parts) > 1:
        return Refused(f"no such file or folder: {path}")
    return Refused(f"no such file or folder: {path}; {unknown('data source', spec, forms)}")


def path_of(spec: object) -> Path | None:
    """``spec`` as a path, with ``~`` expanded, if it is a string or a path."""
    if not isinstance(spec, str | Path):
        return None
    try:
        return Path(spec).expanduser()
    except RuntimeError:  # nobody of this name
        return Path(spec)


def rank_here() -> int:
    """Which of the processes that were started together this one is; 0 for one alone."""
    names = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
    ranks = (os.environ.get(name, "") for name in names) if started_together() else ()
    return next((int(rank) for rank in ranks if rank.isdecimal()), 0)


def started_together() -> bool:
    """Whether whoever started this process says that it is one of several: torchrun, Slurm, MPI or LSF."""
    counts = (os.environ.get(name, "") for name in ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"))
    return any(count.isdecimal() and int(count) > 1 for count in counts) or "LSB_DJOB_RANKFILE" in os.environ
