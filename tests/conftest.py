"""What all tests share: no figure is rendered, what is imported for them is no garbage, and nobody is told of them."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from unrendered import STANDINS

os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}


def pytest_collection() -> None:
    gc.disable()


def pytest_collection_finish() -> None:
    """The collector begins once all modules are imported, and leaves their half a million objects alone: it took a
    quarter of the imports' time."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> Iterator[None]:
    """Every figure is an empty picture. A folder or a module that needs the real ones overrides this fixture."""
    with pytest.MonkeyPatch.context() as patch:
        for name, standin in STANDINS.items():
            patch.setattr(name, standin)
        yield
