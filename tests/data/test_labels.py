"""Labels as values: what they read, what they refuse, what is known of them afterwards."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from label_helpers import line

from poise.data.labels import ClassIds, ClassSets, Labels, Masks, Numbers, Seen
from poise.data.splits import search_halves
from poise.errors import Refused


def test_class_ids() -> None:
    labels: Labels = ClassIds()
    read = labels.read([[0], [2], [1], [2]], "x")
    assert (read.dtype, read.tolist()) == (torch.int64, [0, 2, 1, 2])
    assert labels.names(read, (), "x") == ("0", "1", "2")
    assert labels.names(read, ["a", "b", "c"], "x") == ("a", "b", "c")
    assert torch.equal(labels.strata(read), read)
    assert labels.seen(read, ("a", "b", "c", "d")) == Seen(tuple("abcd"), {"count": (1.0, 1.0, 2.0, 0.0)})
    assert not labels.dense
    assert "two classes named 'a'" in line(lambda: labels.names(read, ("a", "a", "b"), "x"))


def test_what_is_known_of_labels_survives_json() -> None:
    seen = Seen(("a", "b"), {"count": (3.0, 1.0), "mean": (0.1, -2.5)})
    assert Seen.of(json.loads(json.dumps(seen.facts))) == seen
    assert Seen.of(json.loads(json.dumps(Seen(("a",)).facts))) == Seen(("a",))


@pytest.mark.parametrize(
    "facts",
    [
        None,
        3,
        [],
        {},
        {"names": ["a"]},
        {"names": 3, "statistics": {}},
        {"names": [3], "statistics": {}},
        {"names": ["a"], "statistics": []},
        {"names": ["a"], "statistics": {"count": [1, 2]}},
        {"names": ["a"], "statistics": {"count": ["many"]}},
        {"names": ["a"], "statistics": {"count": 3}},
    ],
)
def test_damaged_knowledge_is_refused(facts: Any) -> None:
    assert "does not say what labels are" in line(lambda: Seen.of(facts))


KINDS: tuple[Labels, ...] = (ClassIds(), ClassSets(), Numbers(), Masks())


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        ([["b"], ["a", "b"], []], ("a", "b"), [[0, 1], [1, 1], [0, 0]]),
        ([{"b"}, ("a", "b"), []], ("a", "b"), [[0, 1], [1, 1], [0, 0]]),
        (["b", "a | b", ""], ("a", "b"), [[0, 1], [1, 1], [0, 0]]),
        ([[2], [0, 1], []], (), [[0, 0, 1], [1, 1, 0], [0, 0, 0]]),
        ([[1], [0], [1]], (), [[0, 1], [1, 0], [0, 1]]),  # lists of one id each
        ([[1, 0], [0, 0]], (), [[1, 0], [0, 0]]),  # of ids, no set would hold one twice: 0 and 1 for each class
        ([[1, 0], [0, 1]], ("a", "b", "c"), [[1, 1, 0], [1, 1, 0]]),  # there are three classes
        (np.array([[True, False]]), (), [[1, 0]]),
        (torch.tensor([[0.0, 1.0]]), (), [[0, 1]]),
        ([torch.tensor([0, 1]), torch.tensor([1, 1])], (), [[0, 1], [1, 1]]),
    ],
)
def test_sets_of_classes(values: Any, names: tuple[str, ...], expected: list[list[int]]) -> None:
    found = ClassSets().read(values, "x", names)
    assert (found.dtype, found.tolist()) == (torch.float32, expected)


def test_what_is_known_of_sets() -> None:
    labels, read = ClassSets(), torch.tensor([[1.0, 0, 0, 1], [1, 0, 1, 1], [0, 0, 1, 1]])
    assert labels.named([["b"], ["a", "b"], "c|a", []]) == ("a", "b", "c")
    assert labels.seen(read, tuple("abcd")) == Seen(tuple("abcd"), {"count": (2, 0, 2, 3), "rest": (1, 3, 1, 0)})
    note = labels.note(read, tuple("abcd"), "x")
    assert (
        note
        == "no example of x has class 'b'; every example of x has class 'd': a network learns nothing of such a class"
    )
    assert labels.note(read[:, [0, 2]], ("a", "c"), "x") is None
    labels.check_training(read, tuple("abcd"), "x")
    labels.check_test(read[:1], read, tuple("abcd"), "x")
    assert "has examples of class 'b'" in line(lambda: labels.check_test(torch.ones(1, 4), read, tuple("abcd"), "x"))
    assert "the same set" in line(lambda: labels.check_training(read[:1].expand(3, 4), tuple("abcd"), "x"))


def test_sets_are_split_by_their_pattern_and_rare_ones_together() -> None:
    patterns = torch.tensor([[0.0, 0, 1]] * 10 + [[1, 1, 0]] * 5 + [[1, 0, 0]] * 4 + [[0, 1, 1]])
    strata = ClassSets().strata(patterns)
    assert [len(set(part.tolist())) for part in (strata[:10], strata[10:15], strata[15:])] == [1, 1, 1]
    assert len(set(strata.tolist())) == 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5], [[1], [2.5]]),
        ([True, False], [[1], [0]]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        (np.array([0.5], dtype=np.float64), [[0.5]]),
        (torch.tensor([[3]], dtype=torch.int64), [[3]]),
    ],
)
def test_numbers(values: Any, expected: list[list[float]]) -> None:
    found = Numbers().read(values, "x")
    assert (found.dtype, found.tolist()) == (torch.float32, expected)


def test_what_is_known_of_numbers() -> None:
    labels, read = Numbers(), torch.tensor([[1.0, 30], [3, 10], [5, 20]])
    seen = labels.seen(read, ("a", "b"))
    assert seen.statistics["mean"] == (3.0, 20.0)
    assert seen.statistics["std"] == pytest.approx(((8 / 3) ** 0.5, (200 / 3) ** 0.5), rel=1e-12)
    assert (labels.names(read, (), "x"), labels.names(read[:, :1], (), "x")) == (("y0", "y1"), ("y",))
    assert labels.note(read, ("a", "b"), "x") is None
    assert "'b' of x is 7 for every example" in line(
        lambda: labels.check_training(torch.tensor([[1.0, 7], [2, 7]]), ("a", "b"), "x")
    )
    assert "1 numbers per example" in line(lambda: labels.check_test(read[:, :1], read, ("a", "b"), "x"))
    assert "label 1 of x is nan" in line(lambda: labels.read([0.0, float("nan")], "x"))
    assert "label 0 of x is inf" in line(lambda: labels.read([1e39, 0.0], "x"))
    assert "3 names (a, b, c) for 2 numbers per example; one class for each" in line(
        lambda: labels.names(read, ("a", "b", "c"), "x")
    )


def test_numbers_are_split_by_the_bins_of_the_first() -> None:
    values = torch.stack([torch.randperm(100).float() ** 3, torch.zeros(100)], dim=1)
    strata = Numbers().strata(values)
    assert torch.bincount(strata).tolist() == [10] * 10
    for low in range(9):
        assert values[strata == low, 0].max() < values[strata == low + 1, 0].min()
    assert Numbers().strata(values[:19]).unique().tolist() == [0]
    assert Numbers().strata(values[:25]).unique().tolist() == [0, 1]
    train, valid = search_halves(strata, seed=3)
    assert torch.bincount(strata[train]).tolist() == torch.bincount(strata[valid]).tolist() == [5] * 10


def test_what_is_known_of_masks() -> None:
    labels = Masks(ignore_index=9)
    read = labels.read(np.array([[[0, 2], [2, 9]], [[9, 9], [9, 0]]], dtype=np.uint8), "x")
    assert (read.dtype, read.shape) == (torch.int64, (2, 2, 2))
    assert torch.equal(labels.read(read[:, None].int(), "x"), read)
    assert labels.names(read, (), "x") == ("0", "1", "2")
    assert labels.seen(read, ("a", "b", "c")) == Seen(("a", "b", "c"), {"count": (2, 0, 2)})
    assert labels.strata(read).tolist() == [2, 0]
    assert labels.note(read, ("a", "b", "c"), "x") == "1 of the 3 classes of x have no pixel to train on ('b')"
    labels.check_training(read, ("a", "b", "c"), "x")
    assert "a pixel of x is of class 9, expected 0..2, or 255 for none" in line(
        lambda: Masks().check_training(read, ("a", "b", "c"), "x")
    )
    assert "one class only ('a')" in line(lambda: labels.check_training(read[1:], ("a", "b", "c"), "x"))
    assert "no pixel with a label" in line(lambda: labels.check_training(read[1:, :1], ("a", "b", "c"), "x"))
    assert "pixels of class 'b'" in line(
        lambda: labels.check_test(torch.ones(1, 2, 2).long(), read, ("a", "b", "c"), "x")
    )
    assert "is of class -1" in line(lambda: labels.check_test(read - 1, read, ("a", "b", "c"), "x"))
    assert "ignore_index is 300" in line(lambda: Masks(300))


@pytest.mark.parametrize(
    ("values", "task"),
    [
        ([0, 1, 2], "classification"),
        (["a", "b"], "classification"),
        ([[0, 1, 1], [1, 0, 0]], "multilabel"),
        ([[0], [0, 1]], "multilabel"),
        ([0.5, 1.5], "regression"),
        ([[0.5, 2.0], [1.0, 3.0]], "regression"),
        (np.zeros((2, 3, 3), dtype=np.uint8), "segmentation"),
    ],
)
def test_a_refusal_says_which_task_labels_are_for(values: Any, task: str) -> None:
    fit = {"classification": ClassIds, "multilabel": ClassSets, "regression": Numbers, "segmentation": Masks}
    for name, kind in fit.items():
        if name == task or (kind is Numbers and task in ("classification", "multilabel")):
            continue
        if kind is ClassSets and isinstance(values[0], str):
            continue  # texts are sets as well
        assert f"for --task {task}" in line(lambda kind=kind: kind().read(values, "x"))  # type: ignore[misc]


@pytest.mark.parametrize("labels", KINDS, ids=lambda labels: labels.what)
@pytest.mark.parametrize("columns", [{}, {"a": "other"}, {"image": "image"}])
def test_a_table_without_labels_is_refused(labels: Labels, columns: dict[str, str]) -> None:
    assert line(lambda: labels.choose(columns, "x.csv")).startswith("x.csv has no ")


def test_which_columns_are_labels() -> None:
    table = {"image": "image", "label": "text", "tags": "list", "a": "whole", "b": "number", "mask": "text"}
    assert ClassIds().choose(table, "x") == ("label",)
    assert ClassIds(("tags",)).choose(table, "x") == ("tags",)
    assert ClassSets().choose(table, "x") == ("label",)
    assert ClassSets().choose({"label": "whole", "tags": "list"}, "x") == ("tags",)
    assert ClassSets().choose({"image": "image", "a": "whole", "b": "whole", "c": "number"}, "x") == ("a", "b")
    assert Numbers().choose(table, "x") == ("a", "b")
    assert Numbers().choose({"label": "list"}, "x") == ("label",)
    assert Numbers(("b", "a")).choose(table, "x") == ("b", "a")
    assert Masks().choose(table, "x") == ("mask",)
    assert "unknown column of x 'labl'; did you mean 'label'" in line(lambda: ClassIds(("labl",)).choose(table, "x"))
    assert "one column of labels was expected for x, got a, b" in line(lambda: ClassIds(("a", "b")).choose(table, "x"))
    assert "a column of 0 and 1 for every class" in line(lambda: ClassSets().choose({"label": "whole"}, "x"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@given(st.sampled_from(KINDS), ANYTHING, st.sampled_from([(), ("a", "b")]))
def test_whatever_comes_is_read_or_refused(labels: Labels, values: Any, names: tuple[str, ...]) -> None:
    try:
        read = labels.read(values, "x", names)
    except Refused:
        return
    assert len(read) == len(values)
    assert read.dtype == (torch.float32 if labels.what in ("sets of classes", "numbers") else torch.int64)
    assert read.isfinite().all()


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1))
def test_any_sets_come_back(sets: list[set[int]]) -> None:
    read = ClassSets().read(sets, "x", tuple("abcdef"))
    assert [set(row.nonzero().flatten().tolist()) for row in read] == sets


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=200))
def test_strata_of_any_numbers_are_in_order(values: list[float]) -> None:
    column = torch.tensor(values)[:, None]
    strata = Numbers().strata(column)
    counts = torch.bincount(strata)
    assert counts.max() - counts.min() <= 1
    in_order = strata[column[:, 0].argsort(stable=True)]
    assert (in_order.diff() >= 0).all()
