"""What a report of a fault needs to say, and whether this installation works."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires, version
from math import isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from poise.errors import Refused
from poise.extras import EXTRAS, missing

VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF",
    "NO_COLOR", "FORCE_COLOR",
)  # fmt: skip
"""What of the environment changes how poise runs."""

SEARCHED = {
    "space.channels": 2,
    "space.cells": 1,
    "search.epochs": 1,
    "search.images_per_half": 32,
    "search.batch_size": 16,
}
TRAINED = {"train.channels": 2, "train.cells": 1, "train.epochs": 1, "train.batch_size": 256}


@dataclass(frozen=True)
class Check:
    """Something that was tried.

    Args:
        what: it is.
        seconds: it took.
        fault: what went wrong, in a line; empty: nothing.
    """

    what: str
    seconds: float
    fault: str = ""


def facts() -> dict[str, str]:
    """Versions, machine and devices by name, and nothing of the person: no paths, no names of users or machines."""
    import torch

    from poise.engine.batch_memory import available_bytes
    from poise.engine.device import Place

    here = {extra: not missing(extra) for extra in EXTRAS}
    free = available_bytes(Place.open("cpu"))
    return {
        "poise": version("poise"),
        "python": f"{platform.python_version()}, {platform.system()} {platform.release()}, {platform.machine()}",
        "torch": f"{torch.__version__}, {f'CUDA {torch.version.cuda}' if torch.version.cuda else 'without CUDA'}",
        "packages": ", ".join(_of_poise()),
        "extras": ", ".join(extra for extra in here if here[extra]) or "none",
        "not there": ", ".join(extra for extra in here if not here[extra]) or "none",
        "cores": f"{os.cpu_count()}, of which torch uses {torch.get_num_threads()}",
        "memory": "not known" if free is None else f"{free / 2**30:.1f} GiB free",
        "devices": ", ".join(_names_of_devices()),
        "variables": ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "none",
    }


def checks() -> Iterator[Check]:
    """Try what everything rests on, one after the other, in a folder that is gone afterwards: that extras can be
    imported, and on every kind of device a search of two steps, saved, and a retraining of what it found."""
    for extra in COMPILED:
        if not missing(extra):
            yield _tried(f"import of {extra}", partial(_import, EXTRAS[extra]))
    for device in _devices():
        with TemporaryDirectory(prefix="poise-doctor-") as folder:
            yield _tried(f"search and training on {device}", partial(_search_and_train, Path(folder), device))


COMPILED = ("onnx", "predict")
"""Extras of which a wheel for another machine may lie here; they are imported in no time."""


def _import(packages: Iterable[str]) -> None:
    for name in packages:
        import_module(name)


def _search_and_train(folder: Path, device: str) -> None:
    from poise.engine.events import ignore
    from poise.workflow.retrain import train
    from poise.workflow.search import search

    found = search(
        "digits", space="nasbench201", method="darts", settings=SEARCHED, out=folder / "run", device=device,
        listen=ignore,
    )  # fmt: skip
    network = train(found, settings=TRAINED, out=folder / "net", device=device, listen=ignore)
    loss = network.result["test_loss"]
    if not isfinite(loss):
        raise Refused(f"the test loss is {loss}")


def _tried(what: str, work: Callable[[], object]) -> Check:
    start, fault = time.monotonic(), ""
    try:
        work()
    except Exception as error:  # whatever it is, it is what the person wants to know
        fault = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Check(what, time.monotonic() - start, fault)


def _of_poise() -> Iterator[str]:
    """The packages that every installation has, with their versions."""
    for requirement in requires("poise") or ():
        name = re.split(r"[^\w.-]", requirement)[0]
        if "extra ==" not in requirement and name != "torch":
            try:
                yield f"{name} {version(name)}"
            except PackageNotFoundError:
                yield f"{name} MISSING"


def _devices() -> Iterator[str]:
    import torch

    yield "cpu"
    if torch.cuda.is_available():
        yield "cuda"
    if torch.backends.mps.is_available():
        yield "mps"


def _names_of_devices() -> Iterator[str]:
    import torch

    for device in _devices():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield f"cuda ({', '.join(names)})" if device == "cuda" else device
