"""A small smooth searcher in float64, and its search loss written out by hand."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import poise
from poise.config.resolve import resolve
from poise.engine.searcher import Searcher
from poise.spaces.custom import ModuleSpace
from poise.workflow.prepare import Preparation


def smooth_module() -> torch.nn.Module:
    torch.manual_seed(0)
    bent = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Tanh())
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        poise.Choice({"plain": torch.nn.Linear(64, 8), "bent": bent}),
        poise.Choice({"same": torch.nn.Identity(), "tanh": torch.nn.Tanh(), "mixed": torch.nn.Linear(8, 8)}),
        torch.nn.Linear(8, 10),
    )


def smooth_searcher(method: str = "darts", **overrides: Any) -> Searcher:
    """Two groups of one row, of 2 and 3 candidates, away from the middle."""
    module = smooth_module()
    settings = {"search.images_per_half": 60, "search.batch_size": 20} | overrides
    resolved = resolve(space=ModuleSpace(module), method=method, overrides=list(settings.items()), precision="64")
    found = Preparation.of(resolved, "digits").searcher()
    with torch.no_grad():
        for sign, alphas in zip((1, -1), found.alphas.values(), strict=True):
            alphas.copy_(sign * torch.linspace(0.5, -0.5, alphas.numel(), dtype=torch.float64).view_as(alphas))
    return found


def cell_searcher(**overrides: Any) -> Searcher:
    """The real supernet of NAS-Bench-201, tiny, in float64."""
    settings = {
        "search.images_per_half": 10, "search.batch_size": 10, "space.channels": 2, "space.cells": 1,
    } | overrides  # fmt: skip
    resolved = resolve(space="nasbench201", method="darts", overrides=list(settings.items()), precision="64")
    return Preparation.of(resolved, "digits").searcher()


def loss_by_hand(found: Searcher, batches: int, point: Tensor) -> Tensor:
    """``L_val`` at alphas given as one vector, with the mixture written out."""
    data = list(islice(found.searching.ordered(), batches))
    mixture = {}
    sizes = [alphas.numel() for alphas in found.alphas.values()]
    for (name, alphas), part in zip(found.alphas.items(), point.split(sizes), strict=True):
        mixture[name] = torch.softmax(part.view_as(alphas), dim=1)[None]
    return torch.stack([F.cross_entropy(found.supernet(images, mixture), labels) for images, labels in data]).mean()


def alphas_of(found: Searcher) -> Tensor:
    return torch.cat([alphas.detach().flatten() for alphas in found.alphas.values()])
