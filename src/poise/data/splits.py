"""Which images train the weights and which judge the architecture: disjoint, seeded, stratified by class."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from poise.errors import Refused


def search_halves(
    labels: Tensor,
    *,
    seed: int,
    fraction: float = 0.5,
    split_file: Path | None = None,
    limit: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Split a training set, ``labels: [n]``, into the half for the weights and the half for the architecture.

    ``fraction`` of the images go to the first half. ``split_file`` gives the halves instead, as JSON
    ``{"train": [...], "valid": [...]}``. A limit keeps at most that many images of each half, stratified again; the
    halves themselves depend on the seed alone. Returns two sorted, disjoint index tensors (int64).
    Raises `Refused` for a fraction outside (0, 1), a half left empty, a limit below 1 or a bad split file.
    """
    if split_file is not None:
        if fraction != 0.5:
            raise Refused(f"fraction {fraction} has no effect when a split file is given; pass one of the two")
        train, valid = _read_split(Path(split_file), len(labels))
    else:
        valid, train = stratified_holdout(labels, fraction, seed)
        if not len(train) or not len(valid):
            raise Refused(f"{len(labels)} examples cannot be split at fraction {fraction}: one half would be empty")
    return _limited(labels, train, limit, seed), _limited(labels, valid, limit, seed)


def stratified_holdout(labels: Tensor, fraction: float, seed: int, *, keep: int = 1) -> tuple[Tensor, Tensor]:
    """Draw ``fraction`` of the images, each class in proportion, leaving at least ``keep`` of every class.

    Returns ``(kept, held)``: sorted, disjoint index tensors (int64) that together are all of ``labels: [n]``.
    Raises `Refused` for a fraction outside (0, 1).
    """
    if not 0 < fraction < 1:
        raise Refused(f"fraction is {fraction}, expected a number between 0 and 1 (neither included)")
    held = _draw(labels, round(len(labels) * fraction), seed, keep)
    mask = torch.ones(len(labels), dtype=torch.bool)
    mask[held] = False
    return mask.nonzero().flatten(), held


def _limited(labels: Tensor, half: Tensor, limit: int | None, seed: int) -> Tensor:
    if limit is not None and limit < 1:
        raise Refused(f"the limit of examples per half is {limit}, expected at least 1")
    if limit is None or limit >= len(half):
        return half
    return half[_draw(labels[half.to(labels.device)], limit, seed, keep=0)]


def _draw(labels: Tensor, total: int, seed: int, keep: int) -> Tensor:
    """``total`` random indices, every class in proportion, at least ``keep`` of each left (so there may be fewer)."""
    generator = torch.Generator().manual_seed(seed)
    classes, position, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    quotas = _apportion(counts.tolist(), total, keep)
    picked = []
    for index in range(len(classes)):
        members = (position == index).nonzero().flatten()
        picked.append(members[torch.randperm(len(members), generator=generator)[: quotas[index]]])
    return torch.cat(picked).sort().values if picked else torch.empty(0, dtype=torch.int64)


def _apportion(counts: list[int], total: int, keep: int) -> list[int]:
    """Largest remainders: shares of ``total`` in proportion to ``counts``, at most ``count - keep`` of each."""
    everything = max(sum(counts), 1)
    room = [max(count - keep, 0) for count in counts]
    shares = [min(count * total // everything, space) for count, space in zip(counts, room, strict=True)]
    by_remainder = sorted(range(len(counts)), key=lambda index: -(counts[index] * total % everything))
    while sum(shares) < min(total, sum(room)):
        for index in by_remainder:
            if shares[index] < room[index] and sum(shares) < total:
                shares[index] += 1
    return shares


def _read_split(path: Path, count: int) -> tuple[Tensor, Tensor]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"cannot read the split file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise Refused(f"split file {path} is not JSON: {error}") from None
    if not isinstance(content, dict) or set(content) != {"train", "valid"}:
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise Refused(f"split file {path} holds {found or 'nothing'}, expected the keys train, valid")
    halves = []
    for name in ("train", "valid"):
        indices = content[name]
        if not isinstance(indices, list) or not indices:
            raise Refused(f"{name!r} in split file {path} is not a list of indices with at least one entry")
        wrong = next((index for index in indices if type(index) is not int), None)
        if wrong is not None or None in indices:
            raise Refused(f"{name!r} in split file {path} holds {wrong!r}, expected integers")
        outside = next((index for index in indices if not 0 <= index < count), None)
        if outside is not None:
            raise Refused(f"{name!r} in split file {path} holds index {outside}, expected 0..{count - 1}")
        if len(set(indices)) != len(indices):
            raise Refused(f"{name!r} in split file {path} holds an index more than once")
        halves.append(torch.tensor(sorted(indices), dtype=torch.int64))
    shared = set(halves[0].tolist()) & set(halves[1].tolist())
    if shared:
        raise Refused(f"split file {path} has index {min(shared)} in both halves ({len(shared)} shared)")
    return halves[0], halves[1]
