"""A supernet's score of a discrete architecture, against the textbook's supernet."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch.nn import functional as F

from poise.bench.contestants.searching import _score
from poise.config.resolve import resolve
from poise.genotype import Genotype
from poise.workflow.prepare import Preparation
from textbook.supernets import nasbench201_supernet
from textbook.weights import randomise

CELL = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
SETTINGS = {
    "space.channels": 3, "space.cells": 1, "search.images_per_half": 50, "search.batch_size": 20, "search.max_size": 8,
}  # fmt: skip


@pytest.mark.parametrize("batches", [1, 2, 99])
def test_a_score_is_the_textbooks(batches: int) -> None:
    """Mean accuracy and loss over the images of the first batches of the search half, with batch statistics."""
    settings = resolve(
        space="nasbench201", method="darts", preset="demo", data="digits", device="cpu", precision="64",
        overrides=list(SETTINGS.items()),
    )  # fmt: skip
    searcher = Preparation.of(settings).searcher()
    randomise(searcher.supernet)
    before = {name: value.clone() for name, value in searcher.supernet.state_dict().items()}
    accuracy, loss = _score(searcher, Genotype.parse(CELL), batches)

    (group,) = searcher.groups
    candidates = [row.candidates for row in group.rows]
    chosen = ("nor_conv_3x3", "skip_connect", "nor_conv_1x1", "none", "avg_pool_3x3", "nor_conv_3x3")
    mixture = torch.zeros(group.layers, 6, 5, dtype=torch.float64)
    for row, name in enumerate(chosen):
        mixture[:, row, candidates[row].index(name)] = 1
    losses, hits = [], []
    for images, labels in islice(searcher.searching.ordered(), batches):
        state = {name: value.clone() for name, value in before.items()}  # the textbook updates running statistics
        logits = nasbench201_supernet(state, images, {"cell": mixture}, cells=1, candidates=candidates)
        losses.append(F.cross_entropy(logits, labels, reduction="none"))
        hits.append((logits.argmax(dim=1) == labels).double())
    assert len(torch.cat(losses)) == min(20 * batches, 50)
    assert loss == pytest.approx(float(torch.cat(losses).mean()), rel=1e-9)
    assert accuracy == pytest.approx(float(torch.cat(hits).mean()), rel=1e-12)
    after = searcher.supernet.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(after[name], value)]
    assert changed == []
