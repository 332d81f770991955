"""Samples, what their floats are standardised by, and their batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from poise.data.fingerprint import samples_fingerprint
from poise.data.overlap import shared_rows
from poise.data.sample_batches import SampleBatches
from poise.data.samples import Samples
from poise.data.standard import Standard
from poise.errors import Refused
from poise.spaces import Input, SampleShape

NAMES = ("a", "b")


def mixed(count: int = 10) -> dict[str, Any]:
    """Of every kind: floats of two precisions, whole numbers, bools, a value without axis, and what is not in order."""
    torch.manual_seed(0)
    return {
        "rows": torch.randn(3, count).T * 5 + 2,
        "sound": torch.randn(count, 2, 7, dtype=torch.float64) * torch.tensor([1.0, 9.0])[:, None] - 4,
        "age": torch.arange(count) / 2,
        "tokens": (torch.arange(count * 4).reshape(count, 4), [torch.arange(count) % 3 == 0]),
    }


def samples(count: int = 10) -> Samples:
    return Samples(mixed(count), torch.arange(count) % 2, NAMES)


def batches(given: Samples, batch_size: int = 3, **options: Any) -> SampleBatches:
    standard = options.pop("standard", Standard.of(given.inputs))
    return SampleBatches(given, batch_size, standard=standard, device="cpu", **options)


def test_floats_are_standardised_feature_by_feature_and_the_rest_stays() -> None:
    given = samples()
    (found, labels) = batches(given, 10).first(10)
    rows = given.inputs["rows"]
    for feature in range(3):
        column = rows[:, feature].double()
        expected = (column - column.mean()) / column.std(correction=0)
        torch.testing.assert_close(found["rows"][:, feature].double(), expected, atol=1e-6, rtol=1e-6)
    sound = given.inputs["sound"]
    expected = (sound - sound.mean((0, 2), keepdim=True)) / sound.std((0, 2), correction=0, keepdim=True)
    torch.testing.assert_close(found["sound"], expected.float(), atol=1e-6, rtol=1e-6)
    age = given.inputs["age"].double()
    torch.testing.assert_close(found["age"], ((age - age.mean()) / age.std(correction=0)).float())
    assert torch.equal(found["tokens"][0], given.inputs["tokens"][0])
    assert torch.equal(found["tokens"][1][0], given.inputs["tokens"][1][0])
    assert found["tokens"][0].dtype == torch.int64
    assert found["tokens"][1][0].dtype == torch.bool
    assert found["sound"].dtype == found["rows"].dtype == found["age"].dtype == torch.float32
    assert torch.equal(labels, given.labels)


def test_a_feature_without_spread_is_only_shifted() -> None:
    inputs = torch.tensor([[0.1, 1.0], [0.1, 3.0]])
    standard = Standard.of(inputs)
    assert standard.std == ((1.0, 1.0),)
    assert standard(inputs, torch.float32).tolist() == [[0.0, -1.0], [0.0, 1.0]]
    assert standard(torch.tensor([[2.1, 1.0]]), torch.float32)[0].tolist() == pytest.approx([2.0, -1.0])
    tiny = torch.tensor([[0.0], [1e-44]])
    assert Standard.of(tiny)(tiny, torch.float32).isfinite().all()


def test_numbers_far_from_zero_are_standardised_before_they_are_rounded() -> None:
    inputs = 1.7e9 + torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    assert Standard.of(inputs)(inputs, torch.float32).tolist() == [[-1.0], [1.0]]


def test_statistics_in_parts_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = torch.randn(20, 7, 3)
    whole = Standard.of(inputs)
    monkeypatch.setattr("poise.data.standard.PART", 100)
    assert Standard.of(inputs) == whole
    assert len(whole.mean[0]) == 7


def test_not_asked_for_floats_only_change_their_precision() -> None:
    given = samples()
    standard = Standard.of(given.inputs, asked=False)
    found, _ = batches(given, standard=standard, dtype=torch.float64).first(4)
    assert torch.equal(found["rows"], given.inputs["rows"][:4].double())
    assert Standard.read(standard.facts) == standard


def test_a_standard_reads_back_exactly_and_refuses_other_inputs() -> None:
    inputs = mixed()
    standard = Standard.of(inputs)
    assert Standard.read(standard.facts) == standard
    with pytest.raises(Refused, match="4 features on axis 1, expected 3"):
        standard({**inputs, "rows": torch.zeros(10, 4)}, torch.float32)
    with pytest.raises(Refused, match="there are 1 inputs, expected 5"):
        standard(inputs["rows"], torch.float32)
    for facts in ({}, {"mean": [[1.0]], "std": [[0.0]]}, {"mean": [[1.0]], "std": [[]]}, {"mean": 1, "std": 2}, None):
        with pytest.raises(Refused, match="standardised"):
            Standard.read(facts)


def flat(batch: tuple[Any, Tensor]) -> list[Tensor]:
    inputs, labels = batch
    return [inputs["rows"], inputs["sound"], inputs["age"], inputs["tokens"][0], inputs["tokens"][1][0], labels]


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_an_epoch_goes_on_in_its_middle_bit_by_bit(start: int, drop_last: bool) -> None:
    made = batches(samples(), drop_last=drop_last)
    assert len(made) == (3 if drop_last else 4)
    first, second = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    whole = [flat(batch) for batch in made.epoch(first)]
    rest = [flat(batch) for batch in made.epoch(second, start)]
    assert torch.equal(first.get_state(), second.get_state())
    assert len(whole) == len(made)
    assert len(rest) == len(made) - start
    for one, other in zip(whole[start:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_generator_advances_before_the_first_batch_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    batches(samples()).epoch(generator)
    assert not torch.equal(generator.get_state(), before)


def test_an_epoch_has_every_row_once_with_its_own_label() -> None:
    given = Samples(torch.arange(12), torch.arange(12) * 10, ())
    found = list(batches(given, 4).epoch(torch.Generator().manual_seed(1)))
    rows = torch.cat([inputs for inputs, _ in found])
    assert sorted(rows.tolist()) == list(range(12))
    assert rows.tolist() != list(range(12))
    assert torch.equal(torch.cat([labels for _, labels in found]), rows * 10)


def test_ordered_is_everything_once_and_batches_can_be_written_into() -> None:
    made = batches(samples())
    before = [flat(batch) for batch in made.ordered()]
    assert [len(batch[-1]) for batch in before] == [3, 3, 3, 1]
    for batch in (*made.ordered(), *made.epoch(torch.Generator()), made.first(4)):
        for values in flat(batch):
            assert values.is_contiguous()
            values.zero_()
    for one, other in zip(before, made.ordered(), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, flat(other), strict=True))


def test_too_few_rows_for_a_batch_are_refused() -> None:
    with pytest.raises(Refused, match="10 rows do not fill one batch of 11"):
        batches(samples(), 11)
    assert len(batches(samples(), 11, drop_last=False)) == 1
    with pytest.raises(Refused, match=r"start is batch 4, expected 0\.\.3"):
        batches(samples()).epoch(torch.Generator(), 4)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((torch.zeros(4, 2), torch.zeros(3, 2)), "tensors of 3, 4 rows"),
        ({"a": torch.zeros(4), "b": "text"}, "the inputs hold a str, expected tensors"),
        ({}, "the inputs hold nothing"),
        ({1: torch.zeros(4)}, "a dict of 1: expected the names of your forward's arguments"),
        (torch.tensor(1.0), r"hold a single \[\] float32, expected rows"),
        (torch.zeros(5, 2), "5 rows of inputs but 4 labels"),
        (torch.tensor([[0.0], [1.0], [float("nan")], [float("inf")]]), "in 2 of 4 rows, the first in row 2"),
        (torch.tensor([0.0, float("nan"), 0.0, 0.0]), "in 1 of 4 rows, the first in row 1"),
    ],
)
def test_what_are_no_samples_is_refused(inputs: Any, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        Samples(inputs, torch.zeros(4, dtype=torch.int64), NAMES)
    assert "\n" not in str(refused.value)


def test_a_shape_says_what_a_sample_is_and_makes_batches_like_it() -> None:
    given = samples()
    shape = given.shape(2)
    zeros = shape.zeros(4)
    (found, _) = batches(given).first(4)
    for one, other in zip(flat((zeros, torch.zeros(0))), flat((found, torch.zeros(0))), strict=True):
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert not one.any()
    assert SampleShape.of(shape.facts) == shape
    assert shape.described == "rows: [3] float32, sound: [2, 7] float32, age: [] float32, tokens: [4] int64, [] bool"
    assert SampleShape(Input((13,), "float32")).described == "13 numbers"
    assert "10 rows, each rows: [3]" in repr(given)
    for facts in ({}, {"inputs": {"dict": 1}, "outputs": 2}, {"inputs": {"shape": [1], "dtype": "os"}, "outputs": 2}):
        with pytest.raises(Refused):
            SampleShape.of(facts)


def test_a_subset_has_its_rows_in_their_order() -> None:
    part = samples().subset(torch.tensor([4, 1]))
    assert part.inputs["age"].tolist() == [2.0, 0.5]
    assert part.labels.tolist() == [0, 1]


def test_a_fingerprint_is_of_everything_and_of_nothing_else() -> None:
    given = samples()
    inputs, labels = given.inputs, given.labels
    again = Samples({**inputs, "rows": inputs["rows"].contiguous()}, labels.clone(), NAMES)
    assert samples_fingerprint(given) == samples_fingerprint(again)
    changed = inputs["tokens"][0].clone()
    changed[3, 1] += 1
    others = [
        (Samples({**inputs, "tokens": (changed, inputs["tokens"][1])}, labels, NAMES),),
        (Samples({**inputs, "tokens": list(inputs["tokens"])}, labels, NAMES),),
        (Samples({**inputs, "sound": inputs["sound"].float()}, labels, NAMES),),
        (Samples(inputs, labels.flip(0), NAMES),),
        (Samples(inputs, labels.int(), NAMES),),
        (Samples(inputs, labels, ("a", "c")),),
        (given.subset(torch.arange(9, -1, -1)),),
        (given, given),
        (given.subset(torch.arange(5)), given.subset(torch.arange(5, 10))),
    ]
    found = {samples_fingerprint(*parts) for parts in [(given,), *others]}
    assert len(found) == len(others) + 1


def test_rows_in_both_splits_are_counted() -> None:
    given = samples()
    assert shared_rows(given.subset(torch.tensor([0, 1, 2])), given.subset(torch.tensor([2, 3, 2]))) == 2
    other = Samples({**given.inputs, "age": given.inputs["age"] + 1}, given.labels, NAMES)
    assert shared_rows(given, other) == 0
    assert shared_rows(given, Samples(given.inputs["rows"], given.labels, NAMES)) == 0
    assert shared_rows(given, Samples(given.inputs, given.labels.flip(0), NAMES)) == 10
