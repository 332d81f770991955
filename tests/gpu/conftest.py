"""Tests on a GPU; where there is none they are skipped. ``POISE_GPU_DEVICE=cpu`` lets a CPU stand in for it."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    """The device that is tested; a GPU is asked for algorithms that add in the same order every time."""
    name = os.environ.get("POISE_GPU_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    torch.use_deterministic_algorithms(name == "cuda", warn_only=True)
    return name
