"""What a search leaves of its supernet in the run's folder: alphas, the state of their Adam, weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from poise.engine.checkpoint import join, split
from poise.engine.run import ADAM, RunFolder
from poise.engine.searcher import Searcher
from poise.engine.sgd import optimizer_state, restore_optimizer
from poise.engine.unsaved import Output
from poise.supernet.groups import ChoiceGroup


def save_supernet(output: Output, searcher: Searcher) -> None:
    """Write alphas, the state of their Adam, and weights."""
    adam, _ = split(optimizer_state(searcher.alpha_optimizer, searcher.alphas))
    if adam:
        output.save_tensors(ADAM, adam)
    output.save_tensors("alphas.safetensors", searcher.alphas)
    output.save_tensors("supernet.safetensors", searcher.supernet.state_dict())


def load_alphas(folder: RunFolder, groups: Sequence[ChoiceGroup]) -> dict[str, Tensor]:
    """The alphas of these groups. Raises `Refused` if the folder holds none, or others."""
    return folder.load_tensors("alphas.safetensors", {group.name: torch.empty(group.shape) for group in groups})


def load_supernet(folder: RunFolder, searcher: Searcher) -> None:
    """Give a searcher what `save_supernet` wrote."""
    searcher.set_alphas(load_alphas(folder, searcher.groups))
    searcher.supernet.load_state_dict(folder.load_tensors("supernet.safetensors", searcher.supernet.state_dict()))
    load_alpha_moments(folder, searcher)


def load_alpha_moments(folder: RunFolder, searcher: Searcher) -> None:
    """Let the alphas' Adam go on from where the search left it; afresh where it never moved, and in a run of an earlier
    poise, which did not keep it."""
    if (folder.path / ADAM).is_file():
        moments = {
            name: {"step": torch.empty(()), "exp_avg": values, "exp_avg_sq": values}
            for name, values in searcher.alphas.items()
        }
        found = join(folder.load_tensors(ADAM, split(moments)[0]), {})
        restore_optimizer(searcher.alpha_optimizer, searcher.alphas, found)
