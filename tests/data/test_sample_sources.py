"""Arrays and datasets from Python whose rows are no images: what is read, and what is refused."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import Listed
from torch.utils.data import TensorDataset

from poise.data import open_data, open_source
from poise.data.sample_source import SampleSource
from poise.data.split_source import SplitSource
from poise.errors import Refused

COUNT = 20
X = np.random.default_rng(0).normal(size=(COUNT, 3))
Y = np.arange(COUNT) % 2


def opened(spec: Any) -> SampleSource:
    source = open_data(spec)
    assert isinstance(source, SampleSource)
    return source


def test_arrays_have_a_fifth_held_out_with_their_labels() -> None:
    source = opened((X, Y))
    assert (source.name, source.names) == ("arrays", ("0", "1"))
    train, test = source.load("train"), source.load("test")
    assert (len(train), len(test)) == (16, 4)
    assert sorted(train.inputs[:, 0].tolist() + test.inputs[:, 0].tolist()) == sorted(X[:, 0].tolist())
    for part in (train, test):
        assert part.inputs.dtype == torch.float64
        assert part.labels.bincount().tolist() == [len(part) // 2] * 2
        rows = [X[:, 0].tolist().index(value) for value in part.inputs[:, 0].tolist()]
        assert part.labels.tolist() == Y[rows].tolist()
        assert np.array_equal(part.inputs.numpy(), X[rows])
    some = source.load("train", torch.tensor([3, 0]))
    assert torch.equal(some.inputs, train.inputs[[3, 0]])
    assert torch.equal(source.labels("train"), train.labels)
    assert torch.equal(opened((X, Y)).load("test").inputs, test.inputs), "it is the same in every run"


def test_a_pair_of_pairs_is_a_training_split_and_a_test_split() -> None:
    source = opened(((X, Y), (X[:4] + 1, Y[:4])))
    assert len(source.load("train")) == COUNT
    assert np.array_equal(source.load("test").inputs.numpy(), X[:4] + 1)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (torch.from_numpy(X).requires_grad_(), "3 numbers"),
        (X.tolist(), "3 numbers"),
        (X[::-1].astype(">f4"), "3 numbers"),
        (X.astype(np.longdouble), "3 numbers"),
        ((X, np.arange(COUNT)), "[3] float32, [] int64"),
        ([X, Y > 0], "[3] float32, [] bool"),
        ({"x": X, "more": (X, Y.tolist())}, "x: [3] float32, more: [3] float32, [] int64"),
        (X.reshape(COUNT, 1, 3), "[1, 3] float32"),
        (np.zeros((COUNT, 2, 2, 2, 2), np.float32), "[2, 2, 2, 2] float32"),
        (np.zeros((COUNT, 5), np.int32), "[5] int32"),
        (np.zeros((COUNT, 8, 8)), "[8, 8] float32"),
        (np.zeros((COUNT, 4), np.uint8), "[4] uint8"),
    ],
)
def test_inputs_of_every_form(inputs: Any, expected: str) -> None:
    source = opened((inputs, Y))
    assert source.described == f"rows of {expected}"
    first = opened(((inputs, Y), (inputs, Y))).load("test", torch.tensor([1]))
    assert len(first) == 1
    assert not any(values.requires_grad for values in torch.utils._pytree.tree_leaves(first.inputs))


def test_arrays_are_read_as_they_are() -> None:
    backwards = X[::-1]
    found = opened(((backwards.astype(">f8"), Y), (X, Y))).load("train").inputs
    assert np.array_equal(found.numpy(), backwards)
    mixed = opened((([X], {"y": torch.from_numpy(X)}), Y)).load("train").inputs
    assert torch.equal(mixed[0][0], mixed[1]["y"])


@pytest.mark.parametrize(
    ("pixels", "shape"),
    [
        (np.zeros((COUNT, 8, 6), np.uint8), [16, 1, 8, 6]),
        (np.zeros((COUNT, 8, 6, 3), np.uint8), [16, 3, 8, 6]),
        (torch.zeros(COUNT, 3, 8, 6, dtype=torch.uint8), [16, 3, 8, 6]),
        (np.zeros((COUNT, 2, 8, 6)), [16, 2, 8, 6]),
        (torch.zeros(COUNT, 1, 8, 3), [16, 1, 8, 3]),
    ],
)
def test_arrays_that_are_images_take_the_way_of_images(pixels: Any, shape: list[int]) -> None:
    source = open_data((pixels, Y))
    assert isinstance(source, SplitSource)
    images = source.load("train")  # type: ignore[union-attr]
    assert list(images.pixels.shape) == shape
    assert images.pixels.dtype == (torch.uint8 if pixels.dtype in (np.uint8, torch.uint8) else torch.float32)
    both = open_data(((pixels, Y), (pixels, Y)))
    assert list(both.load("test").pixels.shape) == [COUNT, *shape[1:]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ((X, X, Y, Y), r"a tuple of 4 arrays, expected \(X, y\) or \(\(X, y\), \(X_test, y_test\)\)"),
        ((X, Y[:4]), "20 rows of inputs but 4 labels"),
        (((X, X[:3]), Y), "inputs of the arrays have tensors of 3, 20 rows"),
        ((np.array([["a"]] * COUNT), Y), r"inputs of the arrays hold <U1 \(found .*'a'.*\), expected numbers"),
        ((np.array([[1], ["a"]] * 10, object), Y), r"hold object \(found 1\), expected numbers"),
        (([[1.0], [1.0, 2.0]], [0, 1]), "have rows of different lengths"),
        ((np.full((COUNT, 1), np.nan), Y), "not finite .* in 20 of 20 rows, the first in row 0"),
        ((X, Y + 0.5), "not integers"),
        ((X, Y * 0), "one class only"),
        ((np.float64(1.0), np.int64(1)), r"hold a single \[\] float64"),
    ],
)
def test_arrays_that_cannot_be_meant_are_refused(spec: Any, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        open_data(spec)
    assert "\n" not in str(refused.value)
    assert "image" not in str(refused.value)


def test_what_is_asked_of_images_is_refused_in_the_words_of_the_data() -> None:
    with pytest.raises(Refused, match="arrays is rows of 3 numbers, expected images"):
        open_source((X, Y))
    with pytest.raises(Refused, match="skip_bad_images is for images, and arrays is rows of 3 numbers"):
        open_data((X, Y), skip_bad_images=True)
    with pytest.raises(Refused, match=r"data\.size is for images, and arrays is rows of 3 numbers"):
        opened((X, Y)).load("train", size=8)
    with pytest.raises(Refused, match="unknown split 'valid'"):
        opened((X, Y)).load("valid")


def test_a_test_split_of_another_form_is_refused_when_it_is_opened() -> None:
    source = opened(((X, Y), (X[:, :2], Y)))
    with pytest.raises(Refused, match="inputs of the test arrays are 2 numbers, those of the training split 3 numbers"):
        source.load("test")
    source = opened((((X, X), Y), ([X, X], Y)))
    with pytest.raises(Refused, match="inputs of the test arrays are"):
        source.load("test")
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    source = opened((TensorDataset(x, y), TensorDataset(x[:, :2], y)))
    with pytest.raises(Refused, match="inputs of the test dataset are 2 numbers"):
        source.load("test")
    source = opened(((X, Y), (X, Y + 1)))
    with pytest.raises(Refused, match="class"):
        source.load("test")


def test_a_tensor_dataset_is_read_without_its_items() -> None:
    class Never(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            assert index == 0, "the tensors are at hand"
            return super().__getitem__(index)

    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    one = opened(Never(x, y))
    assert torch.equal(one.load("train").inputs, x)
    assert not one.has("test")
    with pytest.raises(Refused, match=r"Never has no test split; pass a pair \(train, test\)"):
        one.load("test")
    two = opened(Never(x, x * 2, y)).load("train")
    assert torch.equal(two.inputs[1], x * 2)
    assert torch.equal(two.labels, y)


def test_items_of_a_dataset_are_read_once_and_stacked() -> None:
    items = [({"x": X[i], "age": i, "old": i > 9, "weight": i / 2}, Y[i]) for i in range(COUNT)]
    dataset, test = Listed(items), Listed(items[:4])
    source = opened((dataset, test))
    found = source.load("train")
    assert dataset.reads == COUNT + 1  # the first one once more, for what it is
    assert test.reads == 0
    assert np.array_equal(found.inputs["x"].numpy(), X)
    assert found.inputs["age"].tolist() == list(range(COUNT))
    assert found.inputs["age"].dtype == torch.int64
    assert found.inputs["old"].dtype == torch.bool
    assert found.inputs["weight"].tolist() == [i / 2 for i in range(COUNT)]
    assert len(source.load("test")) == 4


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([torch.zeros(3)] * 4, r"item 0 of the training dataset is \[3\] float32, expected a pair \(inputs, target\)"),
        ([(torch.zeros(3), 0, 1)] * 4, "item 0 of the training dataset is a tuple of 3, expected a pair"),
        ([(torch.zeros(3), 0), (torch.zeros(4), 1)] * 2, r"differ: item 0 is \[3\] float32, item 1 is \[4\] float32; "),
        ([(torch.zeros(3), 0), (torch.zeros(3).long(), 1)] * 2, r"item 1 is \[3\] int64"),
        ([((torch.zeros(3),), 0), (torch.zeros(3), 1)] * 2, "differ: item 0 is"),
        ([({"x": torch.zeros(3)}, 0), ({"y": torch.zeros(3)}, 1)] * 2, "differ: item 0 is"),
        ([("text", 0), ("more", 1)] * 2, "item 0 of the training dataset holds a str, expected tensors or numbers"),
        ([(np.zeros((4, 5, 3), np.uint8), 0)] * 4, "is a ndarray, expected a PIL image or a tensor"),
    ],
)
def test_items_that_are_no_samples_are_refused(items: list, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        open_data(Listed(items)).load("train")
    assert "\n" not in str(refused.value)


def test_a_dict_of_another_order_is_the_same_dict() -> None:
    items = [({"a": i, "b": -i} if i % 2 else {"b": -i, "a": i}, i % 2) for i in range(6)]
    found = opened(Listed(items)).load("train").inputs
    assert found["a"].tolist() == [0, 1, 2, 3, 4, 5]
    assert found["b"].tolist() == [0, -1, -2, -3, -4, -5]
    assert list(found) == ["b", "a"]
    two = opened((({"b": X, "a": Y}, Y), ({"a": Y, "b": X}, Y)))
    assert list(two.load("test").inputs) == ["b", "a"]
    assert type(opened((OrderedDict(a=X), Y)).load("train").inputs) is dict
