"""What a search leaves of its supernet in the run's folder: alphas, the state of their Adam, weights."""

from __future__ import annotations

import torch

from poise.engine.run import ADAM, RunFolder
from poise.engine.search import Searcher
from poise.engine.unsaved import Output


def save_supernet(output: Output, searcher: Searcher) -> None:
    """Write alphas, the state of their Adam, and weights."""
    moments = searcher.alpha_moments()
    if moments:
        output.save_tensors(ADAM, moments)
    output.save_tensors("alphas.safetensors", searcher.alphas)
    output.save_tensors("supernet.safetensors", searcher.supernet.state_dict())


def load_supernet(folder: RunFolder, searcher: Searcher) -> None:
    """Give a searcher what `save_supernet` wrote."""
    alphas = folder.load_tensors("alphas.safetensors", searcher.alphas)
    with torch.no_grad():
        for name, values in searcher.alphas.items():
            values.copy_(alphas[name])
    searcher.supernet.load_state_dict(folder.load_tensors("supernet.safetensors", searcher.supernet.state_dict()))
    load_alpha_moments(folder, searcher)


def load_alpha_moments(folder: RunFolder, searcher: Searcher) -> None:
    """Let the alphas' Adam go on from where the search left it; afresh where it never moved, and in a run of an earlier
    poise, which did not keep it."""
    if (folder.path / ADAM).is_file():
        alphas = searcher.alphas.items()
        expected = {f"step/{name}": torch.empty(()) for name, _ in alphas}
        expected |= {f"{key}/{name}": values for key in ("exp_avg", "exp_avg_sq") for name, values in alphas}
        searcher.set_alpha_moments(folder.load_tensors(ADAM, expected))
