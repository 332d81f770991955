"""Constants on a device. They are copied there once: a copy in each step would make the step wait."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=1024)
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor of these numbers, a tuple or tuples of tuples; the same one each time, so nobody may write into it."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device)
