"""Tests on a GPU; where there is none they are skipped. ``POISE_GPU_DEVICE=cpu`` lets a CPU stand in for it."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def device() -> str:
    """The device that is tested; on a GPU algorithms that add in any order are refused."""
    name = os.environ.get("POISE_GPU_DEVICE", "cuda")
    if name == "cuda" and not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device here")
    return name
