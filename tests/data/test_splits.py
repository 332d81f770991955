"""Splits: disjoint, stratified, seeded; every malformed split file is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from poise.data import search_halves, stratified_holdout
from poise.errors import Refused

LABELS = torch.tensor([0] * 40 + [1] * 20 + [2] * 7)


def counts(indices: torch.Tensor) -> list[int]:
    return torch.bincount(LABELS[indices], minlength=3).tolist()


def test_halves_are_everything_once_and_stratified() -> None:
    train, valid = search_halves(LABELS, seed=3)
    assert sorted(train.tolist() + valid.tolist()) == list(range(67))
    assert counts(train)[:2] == [20, 10]
    assert abs(counts(train)[2] - counts(valid)[2]) == 1


def test_the_seed_decides() -> None:
    first, again, other = (search_halves(LABELS, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    search_halves(LABELS, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_fraction_is_the_share_of_the_training_half() -> None:
    train, valid = search_halves(LABELS, seed=0, fraction=0.8)
    assert counts(train) == [32, 16, 6]
    assert counts(valid) == [8, 4, 1]


def test_limits_keep_part_of_the_same_halves_in_proportion() -> None:
    train, valid = search_halves(LABELS, seed=5)
    few, others = search_halves(LABELS, seed=5, limit=13)
    assert set(few.tolist()) < set(train.tolist())
    assert len(few) == 13
    for kept, count in zip(counts(few), counts(train), strict=True):
        assert abs(kept - 13 * count / len(train)) < 1, "each class in proportion"
    assert set(others.tolist()) <= set(valid.tolist())
    assert len(others) == min(13, len(valid))
    for half, whole in zip(search_halves(LABELS, seed=5, limit=6400), (train, valid), strict=True):
        assert torch.equal(half, whole), "at most"


def test_holdout_leaves_what_it_must() -> None:
    kept, held = stratified_holdout(torch.tensor([0, 0, 0, 1, 1]), 0.5, seed=0, keep=2)
    assert len(held) == 1
    assert kept.tolist()[-2:] == [3, 4]


def test_the_split_file_is_followed(tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps({"train": [5, 1], "valid": [2, 60]}))
    train, valid = search_halves(LABELS, seed=0, split_file=file)
    assert (train.tolist(), valid.tolist()) == ([1, 5], [2, 60])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": [1]}, "holds train, expected the keys train, valid"),
        ([1], "holds list, expected the keys"),
        ({"train": [], "valid": [1]}, "'train' .* at least one entry"),
        ({"train": [1.5], "valid": [1]}, "'train' .* holds 1.5, expected integers"),
        ({"train": [True], "valid": [1]}, "holds True, expected integers"),
        ({"train": [None], "valid": [1]}, "holds None, expected integers"),
        ({"train": [0], "valid": [67]}, r"'valid' .* holds index 67, expected 0..66"),
        ({"train": [-1], "valid": [6]}, r"holds index -1, expected 0..66"),
        ({"train": [3, 3], "valid": [6]}, "'train' .* more than once"),
        ({"train": [3, 4], "valid": [4]}, r"index 4 in both halves \(1 shared\)"),
    ],
)
def test_bad_split_files_are_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = tmp_path / "split.json"
    file.write_text(json.dumps(content))
    with pytest.raises(Refused, match=message):
        search_halves(LABELS, seed=0, split_file=file)


def test_unreadable_split_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="cannot read the split file"):
        search_halves(LABELS, seed=0, split_file=tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(Refused, match="is not JSON"):
        search_halves(LABELS, seed=0, split_file=tmp_path / "bad.json")


def test_bad_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="examples per half is 0"):
        search_halves(LABELS, seed=0, limit=0)
    with pytest.raises(Refused, match=r"fraction is 1.0"):
        search_halves(LABELS, seed=0, fraction=1.0)
    with pytest.raises(Refused, match="one half would be empty"):
        search_halves(torch.tensor([0, 1]), seed=0, fraction=0.1)
    with pytest.raises(Refused, match="no effect when a split file is given"):
        search_halves(LABELS, seed=0, fraction=0.3, split_file=tmp_path / "split.json")
