"""Which rows of a training split train the weights of a supernet, and which its alphas."""

from __future__ import annotations

import torch
from torch import Tensor

from poise.config.settings import RunSettings
from poise.data import search_halves
from poise.engine.streams import seed_of, stream
from poise.errors import Refused


def halves_of(strata: Tensor, settings: RunSettings, unit: str) -> tuple[Tensor, Tensor]:
    """Indices of the training half and of the search half, for the strata ``[n]`` of the split's labels.

    Raises `Refused` where a half, counted in ``unit``, does not fill a batch.
    """
    data, search = settings.data, settings.search
    training, searching = search_halves(
        strata,
        seed=seed_of(settings.seed, "split") % 2**62,
        fraction=data.search_fraction,
        split_file=data.split_file,
        limit=search.images_per_half,
    )
    for half, name in ((training, "training"), (searching, "search")):
        if len(half) < search.batch_size:
            raise Refused(
                f"the {name} half has {len(half)} {unit}, fewer than search.batch_size {search.batch_size}; "
                "use a smaller batch"
            )
    # What is measured on the search half, in its order, must not meet one class after the other.
    return training, searching[torch.randperm(len(searching), generator=stream(settings.seed, "search half"))]
