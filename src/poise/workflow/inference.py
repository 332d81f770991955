"""Which task data is for, where it says so plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from poise.data import Images
from poise.data.mask_folders import mask_folders
from poise.named import path_of


def inferred(data: Any) -> str | None:
    """The task that data is for, by its labels; None where they do not say, or would have to be read from a file.

    Labels that are floats are numbers; a matrix of whole numbers holds sets of classes; three axes of whole numbers are
    masks. A folder with ``images/`` and ``masks/`` is for segmentation.
    """
    path = path_of(data)
    if path is not None:
        return "segmentation" if _masked(path) else None
    labels = _labels(data)
    if labels is None:
        return None
    if labels.is_floating_point():
        return "regression"
    return {2: "multilabel", 3: "segmentation"}.get(labels.ndim) if labels.ndim != 2 or labels.shape[1] > 1 else None


def _masked(path: Path) -> bool:
    try:
        return bool(mask_folders(path))
    except (OSError, ValueError):  # no file can have that name
        return False


def _labels(data: Any) -> Tensor | None:
    """Some labels of data in Python, the first axis being theirs; None where there are none to be had at once."""
    pairs = isinstance(data, tuple) and all(isinstance(each, tuple) and len(each) == 2 for each in data)
    if isinstance(data, tuple) and len(data) == 2 and (pairs or isinstance(data[0], Images | Dataset)):
        data = data[0]  # a training split and a test split
    if isinstance(data, Images):
        return data.labels
    try:
        if isinstance(data, Dataset):
            return torch.as_tensor(np.asarray(data[0][-1]))[None]
        return torch.as_tensor(np.asarray(data[1])) if isinstance(data, tuple) and len(data) == 2 else None
    except (TypeError, ValueError, IndexError, KeyError, RuntimeError):
        return None
