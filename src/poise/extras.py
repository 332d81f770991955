"""What only some need is an extra, and asked for before any work is done: ``pip install 'poise[onnx]'``."""

from __future__ import annotations

from importlib.util import find_spec

from poise.errors import Refused

EXTRAS = {
    "hub": ("datasets", "huggingface_hub"),
    "mlflow": ("mlflow",),
    "onnx": ("onnx", "onnxscript"),
    "predict": ("onnxruntime",),
    "ray": ("ray",),
    "slurm": ("submitit",),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
}
"""Extra -> the packages without which what needs it cannot run. An export, a data source or an executor that needs more
than every installation has bears the name of its extra."""


def missing(extra: str) -> list[str]:
    """Which of its packages are not installed; none of what is no extra. Imports nothing."""
    return [package for package in EXTRAS.get(extra, ()) if not installed(package)]


def check_extra(extra: str, what: str) -> None:
    """Raise `Refused` if ``what`` needs a package that is not installed; the message says how to get it."""
    packages = missing(extra)
    if packages:
        raise Refused(f"{what} needs {' and '.join(packages)}; {how_to_install(extra)}")


def how_to_install(extra: str) -> str:
    """``to install: pip install 'poise[onnx]'``"""
    return f"to install: pip install 'poise[{extra}]'"


def installed(package: str) -> bool:
    """Whether it could be imported. Imports nothing."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None  # a folder of that name, full of data perhaps, has none
